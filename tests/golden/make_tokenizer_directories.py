#!/usr/bin/env python3
"""Writes tokenizer_directories.json: what AutoTokenizer makes of texts in directories of many kinds.

    pip install transformers==5.24.0 tokenizers==0.23.3
    python3 tests/golden/make_tokenizer_directories.py

A list of cases {"name", "files": {name: text}, "texts": [...], "ids": [[...], ...]}; with "max_length" the ids are cut to
it. "$vocab" in a file's text stands for the vocabulary as lines, "$json" for it as the object in a tokenizer.json; both are
at the file's head. The ids are transformers' own, with [CLS] and [SEP].
"""

import json
import os
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] cov ##id ##xy ##z is here the The Cov CO ##VID , ! . [ ] covid caf ##é café cafe CAFÉ "
    "漢 字 漢字 ##字 i i̇ ##̇ İ ##stanbul istanbul a ##a A b <cls> <sep> <unk> <mask> <pad> < > cls sep in ##in x ß ẞ ss"
).split(" ")
TEXTS = [
    "[COVID] covidxyz is here",
    "The Cov, COVID! the cov. CovidXYZ here",
    "café cafe\u0301 CAFÉ Café cafe",
    "漢字 a漢字b",
    "İstanbul istanbul I\u0307 ẞ ß A\u0301",
    "a[SEP]b [MASK] [mask] [UNK]the <mask> <sep> <unk> [CLS]",
    "covidxyz covidxyzs xcovidxyz covid-xyz covidxyz, covidxyz",
    "a\u0000b\u200bin\u00a0in\tin in\u0085a",
    "the new tok is NEW TOK here newtok tok",
    "a" * 100 + " " + "a" * 101,
    "",
    "é ÉA E\u0301 naïve",
]
CONFIG = {"model_type": "distilbert", "vocab_size": 100, "dim": 8, "n_layers": 1, "n_heads": 1, "hidden_dim": 8}


def added(content, special=False, **flags):
    token = dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=not special, special=special)
    return {**token, **flags}


def dump(value):
    return json.dumps(value, ensure_ascii=False)


def marked(files):
    """The files with the vocabulary replaced by its mark."""
    lines, table = "\n".join(WORDS) + "\n", dump({word: i for i, word in enumerate(WORDS)})
    return {name: text.replace(lines, "$vocab").replace(table, "$json") for name, text in files.items()}


def case(name, files, texts=TEXTS, max_length=None):
    with tempfile.TemporaryDirectory() as directory:
        for file, text in {"config.json": dump(CONFIG), **files}.items():
            with open(os.path.join(directory, file), "w", encoding="utf-8", newline="") as out:
                out.write(text)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        cut = {"truncation": True, "max_length": max_length} if max_length else {}
        ids = [tokenizer(text, **cut)["input_ids"] for text in texts]
    result = {"name": name, "files": marked(files), "texts": texts, "ids": ids}
    if max_length:
        result["max_length"] = max_length
    return result


def saved(tokenizer):
    """The files that save_pretrained writes, with tokenizer.json in one line."""
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save_pretrained(directory)
        files = {}
        for file in sorted(os.listdir(directory)):
            with open(os.path.join(directory, file), encoding="utf-8") as read:
                files[file] = dump(json.load(read))
        return files


def main():
    vocab = "\n".join(WORDS) + "\n"
    cases = []

    def with_config(name, config, more=None, **options):
        cases.append(case(name, {"vocab.txt": vocab, "tokenizer_config.json": dump(config), **(more or {})}, **options))

    cases.append(case("vocab.txt alone", {"vocab.txt": vocab}))
    cases.append(case("CRLF", {"vocab.txt": vocab.replace("\n", "\r\n")}, TEXTS[:2]))
    cases.append(case("a blank last line", {"vocab.txt": vocab + "\n"}, TEXTS[:3]))
    with_config("cased", {"do_lower_case": False})
    with_config("lower case with accents", {"do_lower_case": True, "strip_accents": False})
    with_config("cased without accents", {"do_lower_case": False, "strip_accents": True})
    with_config("CJK left together", {"tokenize_chinese_chars": False})
    with_config("never_split has no effect", {"never_split": ["COVID"], "do_basic_tokenize": False})
    with_config("cut on the left", {"truncation_side": "left"}, max_length=6)
    with_config("split_special_tokens", {"split_special_tokens": True})
    names = {"unk_token": "<unk>", "cls_token": "<cls>", "sep_token": "<sep>", "mask_token": "<mask>", "pad_token": "<pad>"}
    with_config("other names", names)
    cases.append(
        case("other names in special_tokens_map.json", {"vocab.txt": vocab, "special_tokens_map.json": dump(names)})
    )
    mask = {"mask_token": added("[MASK]", True, lstrip=True, rstrip=True)}
    cases.append(
        case("a mask that takes white space", {"vocab.txt": vocab, "special_tokens_map.json": dump(mask)}, TEXTS[5:6])
    )
    n = len(WORDS)
    cases.append(case("added_tokens.json", {"vocab.txt": vocab, "added_tokens.json": dump({"covidxyz": n, "NEW TOK": n + 1})}))
    with_config("added_tokens.json, cased", {"do_lower_case": False}, {"added_tokens.json": dump({"covidxyz": n})})
    with_config(
        "additional special tokens",
        {"additional_special_tokens": ["covidxyz", "NEW TOK"]},
        {"added_tokens.json": dump({"covidxyz": n, "NEW TOK": n + 1})},
    )
    for flag in ("single_word", "lstrip", "rstrip"):
        for normalized in (False, True):
            decoder = {
                str(n): added("covidxyz", normalized=normalized, **{flag: True}),
                str(n + 1): added("TOK", normalized=normalized, **{flag: True}),
            }
            with_config(f"{flag}, normalized {normalized}", {"added_tokens_decoder": decoder})
    with_config("longest first", {"added_tokens_decoder": {str(n): added("covidx"), str(n + 1): added("covidxyz")}})
    with_config("a token of the vocabulary", {"added_tokens_decoder": {str(WORDS.index("covid")): added("covid")}})
    with_config(
        "a decoder hides the other files",
        {"added_tokens_decoder": {str(n): added("covidxyz")}, "unk_token": "[UNK]"},
        {"added_tokens.json": dump({"NEW TOK": n}), "special_tokens_map.json": dump(names)},
    )

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "vocab.txt")
        with open(path, "w", encoding="utf-8") as out:
            out.write(vocab)
        plain = BertTokenizer.from_pretrained(directory)
        cased = BertTokenizer.from_pretrained(directory, do_lower_case=False)
    cases.append(case("saved by transformers 5", saved(plain)))
    plain.add_tokens(["covidxyz"])
    plain.add_special_tokens({"additional_special_tokens": ["NEW TOK"]})
    cases.append(case("saved by transformers 5 with added tokens", saved(plain)))
    cases.append(case("cased, saved by transformers 5", saved(cased)))
    files = saved(cased)
    cases.append(case("tokenizer.json of a cased one alone", {"tokenizer.json": files["tokenizer.json"]}))
    cases.append(
        case(
            "tokenizer.json and another vocab.txt",
            {**files, "vocab.txt": "\n".join(WORDS[:5] + list(reversed(WORDS[5:]))) + "\n"},
        )
    )
    cases.append(
        case(
            "PreTrainedTokenizerFast",
            {**files, "tokenizer_config.json": dump({"tokenizer_class": "PreTrainedTokenizerFast"})},
        )
    )
    whole = json.loads(files["tokenizer.json"])
    whole["model"].update(max_input_chars_per_word=4, continuing_subword_prefix="")
    whole["normalizer"].update(clean_text=False, lowercase=True, strip_accents=True)
    whole["post_processor"] = {"type": "BertProcessing", "sep": ["<sep>", WORDS.index("<sep>")], "cls": ["[CLS]", 2]}
    whole["added_tokens"].append({"id": n, **added("covidxyz")})
    fast = {"tokenizer_class": "TokenizersBackend"}
    cases.append(case("TokenizersBackend", {"tokenizer.json": dump(whole), "tokenizer_config.json": dump(fast)}))
    whole["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}
    cases.append(case("only lower case", {"tokenizer.json": dump(whole), "tokenizer_config.json": dump(fast)}))
    whole["normalizer"] = None
    cases.append(case("no normalizer", {"tokenizer.json": dump(whole), "tokenizer_config.json": dump(fast)}))

    head = {"name": "the vocabulary", "words": WORDS}
    with open(os.path.join(HERE, "tokenizer_directories.json"), "w", encoding="ascii", newline="\n") as out:
        out.write("[\n" + ",\n".join(json.dumps(entry) for entry in [head] + cases) + "\n]\n")
    print(f"{len(cases)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
