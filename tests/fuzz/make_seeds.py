#!/usr/bin/env python3
"""Writes the fuzz targets' seeds: small files of each format made from what the repository bundles, whole and broken in
the ways that have broken readers before.

usage: make_seeds.py OUTPUT        (a folder for each target in it)
"""
import json
import pathlib
import struct
import sys

root = pathlib.Path(__file__).resolve().parents[2]


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
                     config.replace(b"0.1", b"NaN"), config.replace(b"0.1", b"1e999")]
    yield "json", [*broken(json.dumps(sparse).encode()), deep, b"[1,2.5e3,null,true,\"\\u00e9\\ud83d\\ude00\"]", b"NaN",
                   b"'a'", b"[1,]", b'{"a":1,"a":2}', b"1e400", b"-0", b"18446744073709551616", b"// x\n1"]
    vocabulary = lines("weights/sample/vocab.txt", 200)[30:]
    sentence = "\n\nThe café’s naïve [MASK] ﬁlm 漢字 \u202e isn't bad!\u0301".encode()
    yield "vocabulary", [v + sentence for v in broken(vocabulary)]
    table = lines("data/sample/train.tsv", 4)
    rows = [{"text": "a fine film", "label": 1}, {"sentence": "dull", "label": 0}, {"text": "x"}]
    json_lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    quoted = b'sentence,label\n"a, ""fine"" film\nof two lines",1\ndull,0\n'
    files = [*broken(table), *broken(json_lines), *broken(quoted), b"text\tlabel\na\tpositive\nb\tnegative\n",
             b"a\t1\nb\t0\n", b"index\tsentence\n0\ta\n", b"\x1f\x8b\x08\0\0\0\0\0", b"\xff\xfea\0\t\0001\0", b"sentence\n"]
    yield "dataset", [bytes([choice]) + f for f in files for choice in (0, 3, 4)]
    yield "conllu", list(broken((root / "tests/data/treebank.conllu").read_bytes()))
    study = {"name": "s", "baseline": "dense", "seeds": [1, 2], "options": {"epochs": 1},
             "arms": [{"name": "dense", "options": {}}, {"name": "half", "options": {"sparsity": [0.5, "0.5"], "x": True}}]}
    yield "study", [*broken(json.dumps(study, indent=1).encode()), b'// why\n{"arms": [{"name": "../x"}]}']


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    for target, contents in seeds():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for i, content in enumerate(contents):
            (folder / f"seed-{i:03}").write_bytes(content)


main()
