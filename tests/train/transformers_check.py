#!/usr/bin/env python3
"""The logits that `transformers` computes from a directory written by crisp-train: one JSON list a line.

    python transformers_check.py DIR [TSV|-] [--limit N]

The TSV has GLUE's header (its `sentence` column is read) or none (the first column is). Each sentence runs alone, in f32,
without padding. Without a TSV it only says whether transformers and torch are there. Exit codes: 0 done, 77 skipped because
they are not, anything else an error.
"""
import argparse
import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")
try:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
except ImportError as error:
    print(f"[skipped] transformers is not installed ({error})")
    sys.exit(77)


def sentences(path):
    with sys.stdin if path == "-" else open(path, encoding="utf-8-sig", newline="") as file:
        rows = [line.rstrip("\r\n").split("\t") for line in file.read().split("\n") if line.strip("\r")]
    if rows and "sentence" in rows[0]:
        column = rows[0].index("sentence")
        return [row[column] for row in rows[1:]]
    return [row[0] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("tsv", nargs="?")
    parser.add_argument("--limit", type=int, help="only the first N sentences")
    a = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(a.directory)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        a.directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = {key: sorted(map(str, value)) for key, value in loading.items() if value}
    if wrong:
        sys.exit(f"{a.directory}: the tensors are not exactly those of {type(model).__name__}: {wrong}")
    model.eval()
    if a.tsv is None:
        print(f"{type(model).__name__}, {type(tokenizer).__name__}")
        return
    longest = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    with torch.no_grad():
        for sentence in sentences(a.tsv)[: a.limit]:
            ids = tokenizer(sentence, truncation=True, max_length=longest, return_tensors="pt")
            logits = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).logits[0]
            print(json.dumps(logits.tolist()))


if __name__ == "__main__":
    main()
