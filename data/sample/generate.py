#!/usr/bin/env python3
"""Writes the bundled sample corpus, train.tsv, dev.tsv, vocab.txt and topic/, next to this file or into FOLDER.

    python3 data/sample/generate.py [FOLDER]

Short film reviews from a small grammar, labelled 1 (favourable) or 0. The label is the verdict of the whole sentence,
so counting good and bad words is not enough: there is negation, contrast, talk about other things (the seats, the book),
other people's opinions, and what might have been. About one label in thirty is wrong on purpose, in train and dev
alike, as in data that people labelled; no honest model reaches 100 %.

topic/ is another task on other sentences than dev's, for pretraining the bundled checkpoint: which quality is named
first, and is it denied? See topic() for the classes.
Needs nothing but Python 3, and writes the same bytes with every version of it.
"""

import collections
import os
import random
import re
import sys

SEED, TRAIN, DEV, NOISE = 20240607, 1700, 300, 0.033
TOPIC_MORE, TOPIC_DEV = 3000, 200  # sentences of topic/ that are not in train.tsv; those of train.tsv in topic/dev.tsv
rng = random.Random(SEED)


def pick(options):
    return options[int(rng.random() * len(options))]  # random() is stable across Python versions, choice() is not


def chance(p):
    return rng.random() < p


# Every pair of lists is (unfavourable, favourable), so that X[label] is the right one and X[1 - label] its opposite.
ADJECTIVES = (
    "dull boring clumsy lifeless tedious awful shallow predictable annoying bland terrible weak confusing dreary "
    "painful forgettable cheap disappointing".split(),
    "wonderful charming gripping funny moving brilliant clever fresh delightful thrilling beautiful superb touching "
    "honest witty powerful memorable exciting".split(),
)
# Verb phrases as (third person, plain form).
VERBS = (
    [
        ("drags", "drag"),
        ("stumbles", "stumble"),
        ("falls flat", "fall flat"),
        ("goes nowhere", "go nowhere"),
        ("wears thin", "wear thin"),
        ("falls apart", "fall apart"),
        ("loses its way", "lose its way"),
        ("misses the mark", "miss the mark"),
    ],
    [
        ("shines", "shine"),
        ("sparkles", "sparkle"),
        ("soars", "soar"),
        ("delivers", "deliver"),
        ("hits every note", "hit every note"),
        ("earns its tears", "earn its tears"),
        ("comes alive", "come alive"),
        ("rings true", "ring true"),
    ],
)
THINGS = (
    [
        "a mess",
        "a bore",
        "a chore",
        "a waste of time",
        "a disaster",
        "a letdown",
        "a failure",
        "an insult to its audience",
    ],
    ["a triumph", "a joy", "a treat", "a gem", "a delight", "a small miracle", "a success", "a gift to its audience"],
)
FEELINGS = ("bored annoyed irritated restless".split(), "moved delighted enchanted amused".split())
VERDICTS = (
    [
        "save your money",
        "i want my two hours back",
        "i checked my watch twice",
        "i nearly walked out",
        "once was more than enough",
        "do yourself a favour and stay home",
        "i cannot recommend it to anyone",
        "i fought to stay awake",
    ],
    [
        "go and see it",
        "i would watch it again tomorrow",
        "i left with a smile",
        "it deserves a bigger audience",
        "i did not want it to end",
        "do yourself a favour and buy a ticket",
        "i recommend it to everyone",
        "i laughed until it hurt",
    ],
)
ASPECTS = (
    "film, movie, story, plot, script, acting, pacing, dialogue, direction, humour, ending, finale, opening, "
    "camera work, music, second half, lead actor, lead actress, villain, romance, mystery, final act, editing, "
    "soundtrack, title role, sequel"
).split(", ")
PLURAL_ASPECTS = (
    "performances, jokes, songs, characters, costumes, action scenes, special effects, quiet moments".split(", ")
)
GENRES = "comedy, drama, thriller, western, romance, mystery, debut, sequel, remake, cartoon, war film".split(", ")
INTENSIFIERS = ["", "", "", "", "very ", "truly ", "deeply ", "remarkably ", "quite ", "so ", "simply "]
DENIALS = ["not ", "not ", "never ", "far from ", "anything but "]
PEOPLE = "my brother, my sister, a friend, the critic next to me, my neighbour, the poster, every critic in town".split(
    ", "
)
# What a review mentions without judging the film.
NEUTRAL = [
    "it runs for two hours",
    "the story is set in a small harbour town",
    "i saw it on a rainy tuesday",
    "it is based on a short story",
    "the director also wrote the script",
    "it was shot in black and white",
    "the cast is mostly unknown",
    "two sisters inherit a farm",
    "it follows a detective through one winter night",
    "most of it happens in a kitchen",
    "it is the second part of three",
    "the dog has more scenes than the mayor",
    "a young doctor moves to an island",
    "it was made for very little money",
]
# Opinions about something that is not the film.
ELSEWHERE = (
    [
        "the popcorn was stale",
        "the seats were hard",
        "the hall was cold and half empty",
        "the trailer looked dull",
        "the book was a chore",
        "the weather was awful",
        "the people behind us were annoying",
    ],
    [
        "the popcorn was delicious",
        "the seats were soft",
        "the hall was warm and beautiful",
        "the trailer looked brilliant",
        "the book was a joy",
        "the weather was wonderful",
        "the people behind us were charming",
    ],
)


def adjective(label):
    return pick(INTENSIFIERS) + pick(ADJECTIVES[label])


def aspect():
    """A subject and its form of "to be"."""
    return ("the " + pick(PLURAL_ASPECTS), "are") if chance(0.25) else ("the " + pick(ASPECTS), "is")


def clause(label, plain=False):
    """A main clause that judges the film; a negated one in five, unless it is to be plain."""
    other = 1 - label
    subject, be = aspect()
    third = 0 if be == "is" else 1
    if plain or chance(0.8):
        r = rng.random()
        if r < 0.45:
            return f"{subject} {be} {adjective(label)}"
        if r < 0.70:
            return f"{subject} {pick(VERBS[label])[third]}".replace(" its ", " its " if third == 0 else " their ")
        if r < 0.85:
            return f"it is {pick(THINGS[label])}"
        return f"i was {pick(INTENSIFIERS)}{pick(FEELINGS[label])}"
    r = rng.random()
    if r < 0.35:
        return f"{subject} {be} {pick(DENIALS)}{pick(ADJECTIVES[other])}"
    if r < 0.50:
        return f"{subject} never {pick(VERBS[other])[third]}".replace(" its ", " its " if third == 0 else " their ")
    if r < 0.62:
        return f"it is {pick(DENIALS)}{pick(THINGS[other])}"
    if r < 0.74:
        return f"nothing about it is {pick(ADJECTIVES[other])}"
    if r < 0.86:
        return f"i was not {pick(FEELINGS[other])} for a minute"
    return f"there is not one {pick(ADJECTIVES[other])} scene in it"


# Sentence forms: (weight, function of the label).
def contrast(label):
    first, last = clause(1 - label, True), clause(label, chance(0.85))
    return pick(
        [
            f"{first} , but {last}",
            f"although {first} , {last}",
            f"{first} , yet {last}",
            f"{last} , even though {first}",
            f"{first} at first , but in the end {last}",
        ]
    )


def starts_and_ends(label):
    good = ("starts well", "begins with promise", "opens strongly")
    bad = ("starts badly", "begins slowly", "opens weakly")
    subject = f"the {pick(['film', 'movie', 'story', 'plot', pick(GENRES)])}"
    turn = pick(["soon", "then", "in the end", "after an hour it"])
    return f"{subject} {pick(bad if label else good)} but {turn} {pick(VERBS[label])[0]}"


def elsewhere(label):
    other = pick(ELSEWHERE[1 - label] if chance(0.6) else ELSEWHERE[label])
    return pick(
        [
            f"{other} , {clause(label)}",
            f"{other} ; {clause(label, True)}",
            f"{clause(label)} , and {other}",
            f"{other} , but {clause(label, True)}",
        ]
    )


def reported(label):
    who, other = pick(PEOPLE), 1 - label
    return pick(
        [
            f"{who} called it {adjective(other)} , i found it {adjective(label)}",
            f"{who} said it was {adjective(label)} and was right",
            f"{who} said it was {adjective(other)} and could not be more wrong",
            f"unlike {who} , i think {clause(label, True)}",
            f"i do not agree with {who} that {clause(other, True)}",
            f"i agree with {who} that {clause(label, True)}",
        ]
    )


def might_have_been(label):
    other = 1 - label
    aspect_name = pick(ASPECTS)
    if label == 0:
        return pick(
            [
                f"it could have been {pick(THINGS[1])} with a better {aspect_name}",
                f"if only it were as {pick(ADJECTIVES[1])} as it thinks it is",
                f"it wants to be {pick(ADJECTIVES[1])} and ends up {pick(ADJECTIVES[0])}",
                f"the {aspect_name} fails to be {pick(ADJECTIVES[1])}",
                f"i expected {pick(THINGS[1])} and got {pick(THINGS[0])}",
                f"too {pick(ADJECTIVES[0])} to be {pick(ADJECTIVES[1])}",
            ]
        )
    return pick(
        [
            f"it could have been {pick(THINGS[0])} , and it never is",
            f"i expected to be {pick(FEELINGS[0])} and was {pick(FEELINGS[1])}",
            f"it looks {pick(ADJECTIVES[0])} and turns out {pick(ADJECTIVES[1])}",
            f"the {aspect_name} never fails to be {pick(ADJECTIVES[1])}",
            f"i expected {pick(THINGS[0])} and got {pick(THINGS[1])}",
            f"too {pick(ADJECTIVES[1])} to be {pick(ADJECTIVES[other])}",
        ]
    )


def noun_phrase(label):
    a = adjective(label)
    article = "an" if a[0] in "aeiou" else "a"
    tail = pick(
        [
            f"with its {pick(ADJECTIVES[label])} {pick(ASPECTS)}",
            f"that {pick(VERBS[label])[0]}",
            "from start to finish",
            f"about {pick(['love', 'money', 'family', 'war', 'growing up', 'nothing much', 'two old friends'])}",
            f"that never {pick(VERBS[1 - label])[0]}",
            f"without one {pick(ADJECTIVES[1 - label])} {pick(['scene', 'moment', 'line'])}",
        ]
    )
    return f"{article} {a} {pick(GENRES)} {tail}"


FORMS = [
    (32, lambda label: clause(label)),
    (14, lambda label: f"{clause(label)} and {clause(label, True)}"),
    (14, noun_phrase),
    (
        13,
        lambda label: pick(
            [
                f"{pick(NEUTRAL)} and {clause(label)}",
                f"{pick(NEUTRAL)} ; {clause(label)}",
                f"{clause(label)} , and {pick(NEUTRAL)}",
            ]
        ),
    ),
    (9, contrast),
    (4, starts_and_ends),
    (6, elsewhere),
    (5, reported),
    (3, might_have_been),
    (
        11,
        lambda label: pick(
            [
                f"{clause(label)} ; {pick(VERDICTS[label])}",
                f"{pick(VERDICTS[label])} , {clause(label, True)}",
                f"{clause(1 - label, True)} , but {pick(VERDICTS[label])}",
                f"{pick(NEUTRAL)} ; {pick(VERDICTS[label])}",
            ]
        ),
    ),
]


def sentence(label):
    at = rng.random() * sum(weight for weight, _ in FORMS)
    for weight, form in FORMS:
        at -= weight
        if at < 0:
            break
    text = form(label)
    text = text[0].upper() + text[1:] + pick([".", ".", ".", ".", ".", ".", "!", " ..."])
    return re.sub(r" ([,;])", r"\1", text)


def split(size, seen):
    """`size` new sentences, half of each label, a few labels of each kind flipped."""
    rows = {0: [], 1: []}
    while min(len(part) for part in rows.values()) < size // 2:
        label = 0 if len(rows[0]) <= len(rows[1]) else 1
        text = sentence(label)
        if text.lower().rstrip(".! ") not in seen:
            seen.add(text.lower().rstrip(".! "))
            rows[label].append(text)
    wrong = round(size * NOISE / 2)
    mixed = [(text, 1 - label if i < wrong else label) for label, part in rows.items() for i, text in enumerate(part)]
    for i in range(len(mixed) - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        mixed[i], mixed[j] = mixed[j], mixed[i]
    return mixed


# The kinds of quality that topic/ tells apart, by the one word that gives each adjective, verb, thing or feeling away.
QUALITIES = [
    "dull boring lifeless tedious dreary bland forgettable predictable drags drag goes go wears wear bore chore waste "
    "bored restless".split(),
    "clumsy shallow weak cheap confusing awful annoying terrible painful disappointing stumbles stumble falls fall "
    "loses lose misses miss mess failure disaster letdown insult annoyed irritated".split(),
    "moving touching honest charming beautiful funny witty delightful sparkles sparkle earns earn rings ring joy treat "
    "delight miracle moved enchanted amused delighted".split(),
    "wonderful brilliant clever fresh superb gripping thrilling exciting powerful memorable shines shine soars soar "
    "delivers deliver hits hit comes come triumph gem success gift".split(),
]
DENIAL = r"\b(not|never|far from|nothing|without|fails to be|could have been|expected|wants to be|if only)\b"


def topic(text):
    """2 * kind + denied of the first quality that the sentence names of the film; None where it names none.

    The kind is an index into QUALITIES; a quality is denied if its own clause, up to it, has one of DENIAL.
    What is said of the seats or the book, and what only tells the story, does not count.
    """
    text = text.lower().replace("anything but", "never")
    for phrase in ELSEWHERE[0] + ELSEWHERE[1] + NEUTRAL:
        text = text.replace(phrase, "")
    for part in re.split(r"[,;.!]|\b(?:but|and|although|yet)\b", text):
        for word in re.finditer(r"[a-z]+", part):
            for kind, words in enumerate(QUALITIES):
                if word.group() in words:
                    return 2 * kind + bool(re.search(DENIAL, part[: word.start()]))
    return None


def topic_rows(texts):
    return [(text, topic(text)) for text in texts if topic(text) is not None]


def vocabulary(texts):
    """Special tokens, every ASCII character alone and inside a word, common endings, and the words of the corpus."""
    counts = collections.Counter(word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower()))
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    endings = "ing ed er est ly es ful less ness ment tion able ous al ive th st nd en in on an at re le".split()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [c for c in map(chr, range(33, 127)) if not c.isupper()]
    tokens += ["##" + c for c in letters] + ["##" + ending for ending in endings]
    tokens += [
        word for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= 3 and len(word) > 1
    ]
    return tokens


def main():
    if len(sys.argv) > 2 or any(a.startswith("-") for a in sys.argv[1:]):
        sys.exit(__doc__)
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    seen = set()
    parts = {"train.tsv": split(TRAIN, seen), "dev.tsv": split(DEV, seen)}
    texts = [text for text, _ in parts["train.tsv"]]
    more = [text for text, _ in split(TOPIC_MORE, seen)]
    parts["topic/train.tsv"] = topic_rows(texts[TOPIC_DEV:] + more)
    parts["topic/dev.tsv"] = topic_rows(texts[:TOPIC_DEV])
    os.makedirs(os.path.join(folder, "topic"), exist_ok=True)
    for name, rows in parts.items():
        with open(os.path.join(folder, name), "w", encoding="ascii", newline="\n") as file:
            file.write("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="ascii", newline="\n") as file:
        file.write("".join(token + "\n" for token in vocabulary(texts)))


if __name__ == "__main__":
    main()
