#!/usr/bin/env python3
"""Writes the fuzz targets' seeds: small files of each format made from what the repository bundles, whole and broken in
the ways that have broken readers before, and the strings in the tests of the readers, most of which are such files.

usage: make_seeds.py OUTPUT        (a folder for each target in it)
"""
import gzip
import json
import pathlib
import re
import struct
import sys

root = pathlib.Path(__file__).resolve().parents[2]
separator = b"\x1e"  # between the parts of an input that stands for several files


def parts(*contents):
    return separator.join(c if isinstance(c, bytes) else c.encode() for c in contents)


def in_tests(*paths):
    """The strings in C++ files, adjacent ones joined."""
    escapes = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "1": b"\1", "2": b"\2", "3": b"\3", "4": b"\4"}

    def value(literal):
        if literal.startswith("R"):
            return literal[3:-2].encode()
        plain = re.sub(rb"\\(x[0-9A-Fa-f]+|.)",
                       lambda m: bytes([int(m[1][1:], 16) & 255]) if m[1][:1] == b"x" and len(m[1]) > 1
                       else escapes.get(m[1].decode(), m[1]), literal[1:-1].encode())
        return plain

    one = r'R"\((?:.|\n)*?\)"|"(?:[^"\\\n]|\\.)*"'
    for path in paths:
        text = re.sub(r"^\s*(#include|//).*$", "", (root / path).read_text(), flags=re.M)
        for run in re.finditer(rf"(?:{one})(?:\s*(?:{one}))*", text):
            if len(content := b"".join(value(m[0]) for m in re.finditer(one, run[0]))) > 3:
                yield content


def safetensors(tensors, data=None, metadata=None):
    header, end = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + (bytes(end) if data is None else data)


def encoder(dim=4, hidden=8, layers=1, vocab=6, positions=4):
    """The tensors of a tiny DistilBERT, as (name, dtype, shape, bytes)."""
    tensors = [("embeddings.word_embeddings.weight", [vocab, dim]),
               ("embeddings.position_embeddings.weight", [positions, dim])]
    norms = ["embeddings.LayerNorm"]
    for i in range(layers):
        layer = f"transformer.layer.{i}."
        tensors += [(f"{layer}attention.{x}_lin.{p}", [dim, dim][:1 + (p == "weight")]) for x in ("q", "k", "v", "out")
                    for p in ("weight", "bias")]
        tensors += [(layer + "ffn.lin1.weight", [hidden, dim]), (layer + "ffn.lin1.bias", [hidden]),
                    (layer + "ffn.lin2.weight", [dim, hidden]), (layer + "ffn.lin2.bias", [dim])]
        norms += [layer + "sa_layer_norm", layer + "output_layer_norm"]
    tensors += [(f"{norm}.{p}", [dim]) for norm in norms for p in ("weight", "bias")]
    size = lambda shape: 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    return [(name, "F32", shape, size(shape)) for name, shape in tensors]


def broken(text):
    """The text, and versions of it that are cut, doubled, and hold what does not belong there."""
    middle = len(text) // 2
    yield text
    yield text[:middle]
    yield text[:-1]
    yield text + text
    yield text[:middle] + b"\0" + text[middle:]
    yield text[:middle] + b"\xff" + text[middle:]
    yield b"\xef\xbb\xbf" + text
    yield text.replace(b"\n", b"\r\n")
    yield text.replace(b"\n", b"\r")


def lines(path, count):
    return b"".join((root / path).read_bytes().splitlines(keepends=True)[:count])


def tokenizers():
    """A text and the files of a directory, in the order of tokenizer.cpp."""
    names = ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
             "config.json"]
    words, *cases = json.loads((root / "tests/golden/tokenizer_directories.json").read_text())
    vocabulary = "".join(word + "\n" for word in words["words"])
    ids = json.dumps({word: i for i, word in enumerate(words["words"])}, ensure_ascii=False)
    result = []
    for case in cases:
        files = [case["files"].get(name, "").replace("$vocab", vocabulary).replace("$json", ids) for name in names]
        result.append(parts(" ".join(case["texts"]), *files))
    small = ["[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##s\n", "", '{"do_lower_case": false}']
    for one in in_tests("tests/data/test_tokenizer_files.cpp"):
        if one.lstrip().startswith(b"{"):
            result += [parts("The café's", *small[:i], one, *small[i + 1:]) for i in range(6)]
    return result


def datasets():
    table = lines("data/sample/train.tsv", 4)
    rows = [{"text": "a fine film", "label": 1}, {"sentence": "dull", "label": 0}, {"text": "x"}]
    json_lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    json_list = json.dumps([{"text": "a", "label": "pos"}, {"text": "b", "label": "neg"}], indent=1).encode()
    quoted = b'sentence,label\n"a, ""fine"" film\nof two lines",1\ndull,0\n'
    quoted_tabs = b'text\tlabel\n"say ""hi""\tor\nnot"\t1\nbad\t0\n'
    packed = gzip.compress(table, mtime=0)
    files = [f for whole in (table, json_lines, json_list, quoted, quoted_tabs) for f in broken(whole)]
    files += [packed, packed[:-5], packed + packed, packed + bytes(9), packed + b"x", packed[:20] + b"\0" + packed[21:],
              gzip.compress(json_list, mtime=0), gzip.compress(packed, mtime=0), gzip.compress(b"", mtime=0)]
    files += [table.decode().encode(encoding) for encoding in ("utf-16", "utf-16-be", "utf-32", "latin-1")]
    return files + list(in_tests("tests/data/test_dataset_variants.cpp", "tests/data/test_line_stream.cpp",
                                 "tests/data/test_labels.cpp", "tests/data/test_packed.cpp"))


def states():
    """Files of a run, in the order of state.cpp, the first byte being the place in it."""
    numbers = ["step", "micro_step", "accumulated", "loss_sum", "pending_loss", "loss_count", "total_loss_sum",
               "train_seconds", "train_tokens", "best_step", "best_accuracy", "evaluations_without_gain", "last_evaluation"]
    state = {**{name: 1 for name in numbers}, "instruction_set": "avx2", "settings": {"seed": 0, "layer_sparsity": [0.5]},
             "logs": {"metrics_bytes": 7, "event_file": "events.out.tfevents.1.host.crisp", "event_bytes": 8}}
    manifest = {"format": "crisp-checkpoint", "version": 1, "step": 3,
                "files": {"config.json": {"size": 3, "sha256": "0" * 64}, "a/b": {"size": 0, "sha256": ""}}}
    marker = {"format": "crisp-run", "files": ["metrics.jsonl", "all_results.json"]}
    wrong = [{**manifest, "files": {"../x": {"size": 3, "sha256": ""}}}, {**marker, "files": ["../x"]}, {**marker, "files": [1]},
             {**state, "logs": {**state["logs"], "event_file": "/etc/passwd"}}, {**state, "settings": None}]
    files = [[state, wrong[3], wrong[4]], [manifest, wrong[0]], [marker, wrong[1], wrong[2]]]
    result = [bytes([i]) + f for i, kind in enumerate(files) for v in kind for f in broken(json.dumps(v, indent=1).encode())]
    result += [b"\3" + f for text in (b"host 1 5\nlocalhost 99999999 12\n", b"h 1 99999999999999999999\n") for f in broken(text)]
    return result + [b"\4" + f for text in (b"5f", b"5f\n", b"..", b"5f/../5f", b"\x1b[31m", b"a" * 1025) for f in broken(text)]


def results():
    """The files of two runs, in the order of results.cpp."""
    def evaluation(right):
        layer, heads = [0.5, 0.4], [[0.9, None], [0.7, 0.6]]
        return {"step": 4, "epoch": 1.0, "eval_loss": 0.5, "eval_accuracy": right / 3, "eval_correct": right, "eval_total": 3,
                "eval_sparsity": 0.45, "eval_layer_sparsity": layer, "eval_layer_sparsity_requested": [0.5, None],
                "eval_attention_entropy": heads, "eval_attention_normalised_entropy": heads, "spans": heads,
                "span_windows": heads, "eval_flops": {"total": 10, "attention": 2, "attention_dense": 4, "attention_scored": 3}}

    def run(right, more=None):
        final = {**evaluation(right), "best_step": 4, "train_loss": 0.6, "train_runtime": 9.5, "train_tokens_per_second": 900.5,
                 "last_eval_loss": 0.5, "train_eval_loss": 0.4, "train_eval_accuracy": 0.9, "peak_resident_bytes": 612000000,
                 "threads": 1, "instruction_set": "avx2", "startup_seconds": 0.5, "selection_total": 0,
                 "settings": {"select": "best", "selection_part": 0.1, "early_stopping_patience": 2, "training_examples": 9,
                              "training_tokens": 80, "training_data_sha256": "a", "dev_data_sha256": "b", "train": "t.tsv",
                              "initial_weights_sha256": "c", "layer_sparsity": [0.5, 0.5], "sparse_method": "top-k"}}
        final.update(more or {})
        metrics = [{"step": i, "epoch": i / 4, "loss": 1 / i, "tokens_per_second": 900} for i in (1, 2, 3, 4)] + [evaluation(right)]
        predictions = [{"text": f"a <b> & \"{i}\"", "label": i % 2, "prediction": i % 2 if i < right else 1 - i % 2,
                        "logits": [0.5, -i], "probabilities": [0.6, 0.4]} for i in range(3)]
        status = {"status": "complete", "exit_code": 0, "message": "", "seconds": 12.5, "starts": 1, "own": True}
        lines_of = lambda objects: "".join(json.dumps(o) + "\n" for o in objects)
        return [json.dumps(status), json.dumps(final), lines_of(metrics), lines_of(predictions)]

    log = "== crisp-study: start 1\nresuming\ncrisp-train: no such file\nRun it again\n"
    failed = [json.dumps({"status": "failed", "message": "no <memory>", "seconds": 1}), "", '{"step": 1, "loss": null}\n', ""]
    changes = [{"eval_correct": "2"}, {"eval_total": 0}, {"eval_loss": None}, {"eval_layer_sparsity": [[1]]}, {"step": -1},
               {"train_runtime": 1e300, "train_tokens_per_second": 1e-300}, {"eval_attention_entropy": [[1e308, -1e308]]},
               {"settings": {"select": 1, "layer_sparsity": [2]}}, {"settings": []}, {"eval_correct": 2**63}]
    whole = [parts(*run(2), *run(3), log), parts(*run(2), *failed, log), parts(*failed, *run(1), log)]
    whole += [parts(*run(2, change), *run(3), log) for change in changes]
    return [bytes([choice]) + f for choice in (0, 1, 2) for f in whole] + [b"\1" + f for f in broken(whole[0])]


def seeds():
    header = safetensors(encoder())
    yield "safetensors", [
        *broken(header), safetensors([]), safetensors([], metadata={"format": "pt"}), safetensors([], metadata=None) + b"x",
        safetensors([("a", "F16", [2], 4), ("b", "BF16", [0, 3], 0), ("c", "I64", [], 8), ("d", "BOOL", [1], 1)]),
        safetensors([("a", "F32", [1 << 62, 8], 4)]), safetensors([("a", "F32", [2], 4)]),
        safetensors([("a\x1b[31m", "F32", [1], 4), ("a", "F99", [1], 4)]),
        struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"{}", b"PK\x03\x04", b"GGUF",
        struct.pack("<Q", 32) + b'{"__metadata__": null}          ',
    ]
    config = (root / "weights/sample/config.json").read_bytes()
    sparse = json.loads(config)
    sparse["crisp"] = {"sparsity": "0.8", "layer_sparsity": [0.8] * sparse["n_layers"], "sparse_method": "bigbird",
                       "bigbird": [1, 2, 1], "sparse_layers": [0], "keep": ["cls"], "window": 3, "sparsity_ramp": 0.5}
    bert = {"model_type": "bert", "vocab_size": 6, "hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "hidden_act": "gelu", "id2label": {"0": "no", "1": "yes"}}
    deep = b'{"model_type": "distilbert", "crisp": {"window": ' + b"[" * 1000
    yield "config", [*broken(config), json.dumps(sparse).encode(), json.dumps(bert).encode(), deep,
                     config.replace(b"0.1", b"NaN"), config.replace(b"0.1", b"1e999"),
                     *in_tests("tests/model/test_config.cpp", "tests/model/test_sparsity_config.cpp")]
    yield "json", [*broken(json.dumps(sparse).encode()), deep, b"[1,2.5e3,null,true,\"\\u00e9\\ud83d\\ude00\"]", b"NaN",
                   b"'a'", b"[1,]", b'{"a":1,"a":2}', b"1e400", b"-0", b"18446744073709551616", b"// x\n1",
                   *in_tests("tests/data/test_input.cpp")]
    vocabulary = lines("weights/sample/vocab.txt", 200)[30:]
    sentence = "\n\nThe café’s naïve [MASK] ﬁlm 漢字 \u202e isn't bad!\u0301".encode()
    yield "vocabulary", [v + sentence for v in broken(vocabulary)]
    yield "tokenizer", tokenizers()
    files = datasets()
    yield "dataset", [bytes([choice]) + f for f in files for choice in (0, 3, 4, 64)]
    yield "stream", [bytes([choice, most]) + f for f in files for choice, most in ((0, 0), (1, 7), (3, 1))]
    yield "conllu", [*broken((root / "tests/data/treebank.conllu").read_bytes()),
                     *in_tests("tests/data/test_conllu.cpp", "tests/data/test_treebank.cpp")]
    study = {"name": "s", "baseline": "dense", "seeds": [1, 2], "options": {"epochs": 1},
             "arms": [{"name": "dense", "options": {}}, {"name": "half", "options": {"sparsity": [0.5, "0.5"], "x": True}}]}
    yield "study", [*broken(json.dumps(study, indent=1).encode()), b'// why\n{"arms": [{"name": "../x"}]}',
                    *in_tests("tests/train/study/test_study.cpp", "tests/tools/test_study_options.cpp")]
    yield "state", states()
    yield "results", results()
    options = (b'# an experiment\nlearning_rate = 5e-5\nepochs=1   # short\nsparsity = [0.5, 0.6]\noutput = "my runs/first"\n'
               b"overwrite = true\nsparse-eval = off\nbf16 = true\nlabel-names = ['a', \"b\"]\nkeep = cls,sep\n")
    as_json = {"learning_rate": 5e-5, "sparsity": [0.5, 0.6], "overwrite": True, "seed": None, "report_to": "none",
               "output_dir": "x", "evaluation_strategy": "steps", "label_names": ["a", "b"], "max_steps": -1}
    yield "options", [*broken(options), *broken(json.dumps(as_json, indent=1).encode()),
                      *in_tests("tests/tools/test_options.cpp", "tests/tools/test_hf_options.cpp")]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    for target, contents in seeds():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for i, content in enumerate(dict.fromkeys(contents)):
            (folder / f"seed-{i:03}").write_bytes(content)


main()
