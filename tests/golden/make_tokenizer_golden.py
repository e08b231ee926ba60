#!/usr/bin/env python3
"""Writes tokenizer_bert.jsonl and tokenizer_chars.jsonl: what Hugging Face's fast BERT tokenizer makes of texts.

    pip install tokenizers==0.23.3
    python3 tests/golden/make_tokenizer_golden.py bert-base-uncased/vocab.txt

tokenizer_bert.jsonl holds [text, ids, max_length] for the vocabulary of bert-base-uncased. tokenizer_chars.jsonl brings
its own vocabulary (first line): every character that its texts can turn into, alone and with ##, so that each step of
the normalisation shows in the ids; it needs no download.
"""

import json
import os
import random
import sys
import tempfile
import unicodedata

from tokenizers import BertWordPieceTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNLIMITED = 100000
rng = random.Random(1)
ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]

HAND = [
    "",
    " ",
    "\t\n\r",
    "Hello, World!",
    "It 's a charming and often affecting journey .",
    "don't stop-me now...",
    "unaffable UNAFFABLE",
    "caf\u00e9 cafe\u0301 CAF\u00c9",
    "na\u00efve r\u00e9sum\u00e9",
    "\u0130stanbul I\u0307stanbul \u0131",
    "\u1e9e\u00df \u03a3\u03a3 \u03bf\u03b4\u03bf\u03c3 \u039f\u0394\u039f\u03a3",
    "a\u000bb a\u000cb a\u0085b a\u2028b a\u00a0b a\u3000b a\u200bb a\ufeffb",
    "\u0000a\u0000 \ufffdb a\u00adb",
    "\u20ac5 $5 \u00a35 5%",
    "\u6f22\u5b57 kanji\u6f22\u5b57kanji \uf900 \U0002f800",
    "\uac00\ub098\ub2e4 \ud55c\uad6d\uc5b4",
    "\u3042\u3044 \u30a2\u30a4 \u30ac \uff76\uff9e",
    "[CLS] a [SEP] b[MASK]c [PAD][UNK]",
    "[cls] [ MASK ] [[SEP]] [CLS",
    "the[SEP]re",
    "[MASK]ing un[MASK]",
    "e[SEP]\u0301a",
    "x" * 100,
    "x" * 101,
    "the" + "x" * 98,
    "\u00e9" * 100,
    "\u00e9" * 101,
    "e\u0301" * 100,
    "\uac00" * 50,
    "\uac00" * 51,
    "\U0001f600 smile \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0e44\u0e17\u0e22",
    "\u201cquoted\u201d \u2013 \u2014 \u2026 \u00ab\u00bb",
    "a_b @user #tag http://x.y/z?q=1&r=2",
    "\ud7ff\ue000\uf8ff\uffff\U0010ffff",
    "\u0344\u0345 \u0f73\u0f75 a\u0301\u0327\u0334",
    "\U0001d165\U0001d16d \u302e\u302f\u0327",
    "\ufb01 \u2168 \u2460 \u00bd \u2126 \u212a \u212b",
]


def near(lists, gap=1):
    """The characters, and their neighbours on both sides."""
    return [
        chr(c + d)
        for c in lists
        for d in range(-gap, gap + 1)
        if 0 <= c + d < 0x110000 and not 0xD800 <= c + d < 0xE000
    ]


def disagreements():
    """Code points that a recent Unicode classifies otherwise than HF (data/unicode_tables.h), read from that table."""
    import re

    path = os.path.join(HERE, "..", "..", "data", "unicode_tables.h")
    codes = set()
    for a, b in re.findall(r"\{0x([0-9A-F]+), 0x([0-9A-F]+)", open(path, encoding="ascii").read()):
        codes.update(range(int(a, 16), int(b, 16) + 1))
    return sorted(codes)


def mixed(words, marks, others):
    def piece():
        r = rng.random()
        if r < 0.3:
            return rng.choice(words)
        if r < 0.4:
            return rng.choice(SPECIAL + ["[sep]", "[SEP", "##ing"])
        if r < 0.55:
            return "".join(rng.choice(marks) for _ in range(rng.randint(1, 4)))
        if r < 0.65:
            word = rng.choice(words)
            at = rng.randrange(len(word) + 1)
            return word[:at].upper() + rng.choice(marks) + word[at:]
        if r < 0.68:
            return rng.choice("x\u00e9\u6f22\uac00") * rng.randint(98, 103)
        return "".join(rng.choice(others) for _ in range(rng.randint(1, 5)))

    return rng.choice(["", " ", " "]).join(piece() for _ in range(rng.randint(1, 10)))


def write(name, rows):
    with open(os.path.join(HERE, name), "w", encoding="ascii", newline="\n") as file:
        file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def answers(tokenizer, texts, lengths=(UNLIMITED,)):
    for text in texts:
        for length in lengths:
            tokenizer.enable_truncation(length)
            yield [text, tokenizer.encode(text).ids, length]


def main():
    vocabulary = [line.rstrip("\n") for line in open(sys.argv[1], encoding="utf-8")]
    sample = [line.split("\t")[0] for line in open(os.path.join(HERE, "../../data/sample/dev.tsv"), encoding="ascii")][
        1:
    ]
    marks = [c for c in ALL if unicodedata.combining(c)] + [chr(c) for c in disagreements()]
    one_per_block = ["a" + "".join(ALL[i + rng.randrange(64)] for _ in range(3)) + "b" for i in range(0, 0x3400, 64)]
    words = [word for word in vocabulary if not word.startswith("[unused")]
    others = [c for c in ALL if unicodedata.category(c) not in ("Cn", "Co")]

    tokenizer = BertWordPieceTokenizer(sys.argv[1], lowercase=True)
    texts = HAND + sample + one_per_block + [mixed(words, marks, others) for _ in range(1200)]
    write(
        "tokenizer_bert.jsonl",
        list(answers(tokenizer, texts)) + list(answers(tokenizer, HAND[3:20] + sample[:20], (2, 3, 5, 8))),
    )

    special_places = [
        0,
        0x20,
        0x7F,
        0xA0,
        0xAD,
        0x1680,
        0x180E,
        0x2000,
        0x200B,
        0x2028,
        0x202F,
        0x205F,
        0x3000,
        0xFEFF,
        0xFFFD,
        0xE000,
        0x3400,
        0x4DBF,
        0x4E00,
        0x9FFF,
        0xF900,
        0xFAFF,
        0x20000,
        0x2A6DF,
        0x2A700,
        0x2B73F,
        0x2B740,
        0x2B81F,
        0x2B820,
        0x2B920,
        0x2CEAF,
        0x2F800,
        0x2FA1F,
        0xAC00,
        0xD7A3,
        0x10FFFF,
    ]
    singles = [chr(c) for c in range(0x250)] + near(special_places) + [chr(c) for c in disagreements()]
    singles += rng.sample([c for c in ALL if unicodedata.decomposition(c)], 300) + rng.sample(marks, 100)
    singles += [c for c in ALL if c.lower() != c][::9] + [c for c in ALL if unicodedata.category(c)[0] == "P"][::5]
    singles = list(dict.fromkeys(singles))
    texts = (
        HAND
        + ["a" + c + "B" for c in singles]
        + ["".join(rng.choice(singles) for _ in range(rng.randint(2, 12))) for _ in range(700)]
    )
    # Marks that HF keeps and puts into canonical order, between others that it drops or takes for starters.
    kept = [chr(c) for c in [*range(0x8D4, 0x8E2), 0x302E, 0x302F, 0x1D165, 0x1D16D, 0x1B44, 0x1BAA]]
    order = kept * 3 + [chr(c) for c in (0x301, 0x327, 0x334, 0x345, 0x898, 0x8D3, 0x1ABF, 0x93E, 0x941)] + ["a"]
    texts += ["a" + "".join(rng.choice(order) for _ in range(rng.randint(2, 8))) for _ in range(200)]
    forms = set("".join(texts)) | set("".join(unicodedata.normalize("NFD", c) for c in "".join(texts)))
    forms |= {low for c in forms for low in c.lower()} | {chr(c) for c in near_lowered()}
    chars = sorted(c for c in forms if not c.isspace() and c not in "\x1c\x1d\x1e\x1f\x85")
    own = SPECIAL + [token for c in chars for token in (c, "##" + c)]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", suffix=".txt") as file:
        file.write("".join(token + "\n" for token in own))
        file.flush()
        tokenizer = BertWordPieceTokenizer(file.name, lowercase=True)
    write("tokenizer_chars.jsonl", ["".join(chars)] + [row[:2] for row in answers(tokenizer, texts)])


def near_lowered():
    """Lower-case forms that Python's own Unicode version may not know yet."""
    return [
        0x1C8A,
        0x264,
        0xA7CD,
        0xA7CF,
        0xA7D3,
        0xA7D5,
        0xA7DB,
        0x19B,
        *range(0x10D70, 0x10D86),
        *range(0x16EBB, 0x16ED4),
    ]


if __name__ == "__main__":
    main()
