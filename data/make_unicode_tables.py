#!/usr/bin/env python3
"""Writes data/unicode_tables.h: where Hugging Face's BERT normaliser disagrees with utf8proc.

Needs tokenizers==0.23.3 (PyPI) and libutf8proc.so.2 with Unicode 15 (Debian 12: libutf8proc2).
Every code point is shown to both sides, and each difference is kept. Run it again only to follow a newer `tokenizers`:

    python3 data/make_unicode_tables.py > data/unicode_tables.h
"""

import ctypes
import sys

import tokenizers
from tokenizers import normalizers, pre_tokenizers


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


utf8proc = ctypes.CDLL("libutf8proc.so.2")
utf8proc.utf8proc_unicode_version.restype = ctypes.c_char_p
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
utf8proc.utf8proc_get_property.restype = ctypes.POINTER(Property)
utf8proc.utf8proc_decompose_char.restype = ctypes.c_ssize_t
NULLTERM_STABLE_DECOMPOSE = (1 << 1) | (1 << 4)


def bert(**on):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**options, **on}).normalize_str


clean, strip, lower = bert(clean_text=True), bert(strip_accents=True), bert(lowercase=True)
nfd = normalizers.NFD().normalize_str
split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str


def decompose(code):
    out, boundary = (ctypes.c_int32 * 64)(), ctypes.c_int(0)
    n = utf8proc.utf8proc_decompose_char(code, out, 64, NULLTERM_STABLE_DECOMPOSE, ctypes.byref(boundary))
    return "".join(chr(out[i]) for i in range(n))


def ascii_punctuation(code):
    return 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126


def never_reordered(text):
    """True where HF treats the character as a starter: marks of the lowest and highest class do not move past it."""
    low, high = "\u0334", "\u0345"  # combining classes 1 and 240
    return nfd(high + text) == high + text and nfd(text + low) == text + low


kept_controls, extra_punctuation, not_punctuation = [], [], []
extra_marks, kept_marks, starters, undecomposed, lowered = [], [], [], [], []
for code in (c for c in range(0x110000) if not 0xD800 <= c < 0xE000):
    text = chr(code)
    category = utf8proc.utf8proc_category_string(code).decode()
    if category in ("Cc", "Cf", "Co") and text not in "\0\t\n\r" and clean(text) != "":
        kept_controls.append(code)
    elif category not in ("Cc", "Cf", "Co") and code != 0xFFFD and clean(text) == "":
        sys.exit(f"U+{code:04X}: HF drops it, utf8proc calls it {category}: a new kind of difference")
    punctuation = len(split("a" + text + "b")) == 3
    if punctuation != (category[0] == "P" or ascii_punctuation(code)):
        (extra_punctuation if punctuation else not_punctuation).append(code)
    if nfd(text) != decompose(code):
        if nfd(text) != text:
            sys.exit(f"U+{code:04X}: HF decomposes it to {nfd(text)!a}: a new kind of difference")
        undecomposed.append(code)
    if nfd(text) == text:
        mark = strip(text) == ""
        if mark != (category == "Mn"):
            (extra_marks if mark else kept_marks).append(code)
        if utf8proc.utf8proc_get_property(code)[0].combining_class != 0 and code != 0x334 and never_reordered(text):
            starters.append(code)
        # Lower-casing comes after decomposition, so only characters that are their own decomposition matter.
        if lower(text) != chr(utf8proc.utf8proc_tolower(code)):
            lowered.append((code, ord(lower(text))))


def ranges(codes):
    out = []
    for code in codes:
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def show(name, comment, rows):
    print(f"/// {comment}\ninline constexpr CodeRange {name}[] = {{")
    cells = [f"{{0x{a:X}, 0x{b:X}}}," for a, b in rows]
    line = "   "
    for cell in cells:
        if len(line) + 1 + len(cell) > 120:
            print(line)
            line = "   "
        line += " " + cell
    print(line.rstrip(",") + "};\n")


version = utf8proc.utf8proc_unicode_version().decode()
print(
    f"""// Where Hugging Face's BERT normaliser (tokenizers {tokenizers.__version__}) disagrees with utf8proc (Unicode {version}).
// Its category tables date from 2015, its decompositions from 2019, its lower-casing from the compiler that built it.
// Written by data/make_unicode_tables.py from observed differences over every code point; ranges are inclusive, sorted.
#pragma once

#include <cstdint>

// clang-format off
namespace crisp {{

struct CodeRange {{ char32_t first, last; }};
struct LowerRange {{ char32_t first, last; int32_t delta; }};
"""
)
show(
    "kept_controls",
    f"Category Cf in utf8proc, yet not dropped ({len(kept_controls)} code points).",
    ranges(kept_controls),
)
show(
    "extra_punctuation",
    f"No P* in utf8proc, yet split off as punctuation ({len(extra_punctuation)}).",
    ranges(extra_punctuation),
)
show("not_punctuation", f"P* in utf8proc, yet an ordinary character ({len(not_punctuation)}).", ranges(not_punctuation))
show("extra_marks", f"Not Mn in utf8proc, yet dropped as an accent ({len(extra_marks)}).", ranges(extra_marks))
show("kept_marks", f"Mn in utf8proc, yet kept ({len(kept_marks)}).", ranges(kept_marks))
show(
    "starters",
    f"Canonical combining class not 0 in utf8proc, yet never reordered ({len(starters)}).",
    ranges(starters),
)
show(
    "undecomposed",
    f"Has a canonical decomposition in utf8proc, yet is left whole ({len(undecomposed)}).",
    ranges(undecomposed),
)
rows = []
for code, low in lowered:
    if rows and rows[-1][1] == code - 1 and rows[-1][2] == low - code:
        rows[-1][1] = code
    else:
        rows.append([code, code, low - code])
print(f"/// Lower-case letters that utf8proc does not know ({len(lowered)}): lower = code + delta.")
print("inline constexpr LowerRange lowered_ranges[] = {")
print("\n".join(f"    {{0x{a:X}, 0x{b:X}, {d}}}," for a, b, d in rows).rstrip(",") + "};\n")
print("}  // namespace crisp")
