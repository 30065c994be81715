"""Make documents whose copies, edits and overlaps are known, as a pure function of held-out chapters and a seed.

Every plant is one row of the demo corpus. A *group* is what was planted together: byte-for-byte copies, copies that differ only
in case or white space, or edited versions of one passage. Nothing here reads a file, so the tests can run it on any prose.

| kind | a group holds |
|---|---|
| secret | copies of one record of an invented customer; all groups share one template and nothing else |
| random | copies of one string of random letters |
| passage | copies of one short passage of prose |
| template | copies of one counting, spelling or repeating text, which can be continued without having been seen |
| exact_copy | copies of one longer passage; in every second group case and white space differ |
| near_pair | a longer passage and its edited version, Jaccard at least 0.8 |
| grey_pair | the same with more edits, Jaccard from 0.5 to below 0.8 |
| near_family | three to five edited versions of one passage, which is itself left out |
| fuzzy | a short passage and versions in which 5, 10 or 20% of the words were replaced, each version on its own |
"""

import random
import string
import textwrap
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

SEED = 20250
COPIES = (1, 2, 4, 8, 16, 32, 64)
# records carry the memorization tests: many clusters at one copy (the control) and at eight or more (the signal)
SECRET_CLUSTERS = {1: 60, 2: 4, 4: 4, 8: 32, 16: 8, 32: 2, 64: 1}
# a few groups at each number of copies; few of the largest, so that a small token budget still holds them all
SHORT_CLUSTERS = {1: 3, 2: 3, 4: 3, 8: 3, 16: 2, 32: 1, 64: 1}
EXACT_CLUSTERS = 3
NUM_NEAR_PAIRS, NUM_GREY_PAIRS, NUM_FAMILIES = 320, 60, 12
NEAR_RATES, GREY_RATES, FAMILY_RATES = (0.003, 0.03), (0.03, 0.1), (0.003, 0.01)
FUZZY_RATES, FUZZY_SIZES = (0.05, 0.1, 0.2), (4, 8)
# 32 words of this prose are about 50 tokens of a 2,048-token vocabulary: a model's 64-token window holds all of it
SHORT_WORDS = 32
TITLES = ("Mr.", "Mrs.", "Dr.", "St.")


@dataclass(frozen=True)
class Plant:
    """Hold one planted row; `edit_rate` is the number of word edits over the words of the unedited passage."""

    text: str
    kind: str
    group: str
    edit_rate: float = 0.0
    origin: str | None = None


class Passages:
    """Hand out passages of prose that start with a sentence, never the same word of a chapter twice."""

    def __init__(self, chapters: Mapping[str, str], rng: random.Random) -> None:
        self.words = {name: text.split() for name, text in sorted(chapters.items())}
        # running words, repeats and all: an edit puts in a common word as often as the prose has it
        self.vocabulary = [word for words in self.words.values() for word in words if word.isascii() and word.isalpha()]
        self.names = deque(rng.sample(list(self.words), len(self.words)))
        self.starts = dict.fromkeys(self.words, 1)

    def take(self, num_words: int) -> tuple[str, list[str]]:
        """Return a chapter's name and its next `num_words` words, each time from the next chapter that has as many left."""
        while self.names:
            # chapter after chapter in turn, so that two groups are hardly ever neighbours in the novel
            name = self.names.popleft()
            words = self.words[name]
            start = next((i for i in range(self.starts[name], len(words)) if ends_sentence(words[i - 1])), len(words))
            if start + num_words <= len(words):
                self.names.append(name)
                self.starts[name] = start + num_words
                return name, words[start : start + num_words]
        raise ValueError(f"the held-out chapters are used up: no {num_words} words left; hold out more of them")


def ends_sentence(word: str) -> bool:
    """Say whether a sentence ends with this word, a title's full stop excepted."""
    return word not in TITLES and word.rstrip("\"')_").endswith((".", "!", "?"))


def make_plants(chapters: Mapping[str, str], seed: int) -> list[Plant]:
    """Return all plants in shuffled order; the same chapters and seed give the same list."""
    passages = Passages(chapters, random.Random(f"{seed}/passages"))
    plants = [
        *make_secrets(random.Random(f"{seed}/secret")),
        *make_randoms(random.Random(f"{seed}/random")),
        *make_templates(random.Random(f"{seed}/template"), passages.vocabulary),
        *make_short_passages(passages),
        *make_exact_copies(passages, random.Random(f"{seed}/exact_copy")),
        *make_pairs("near_pair", NUM_NEAR_PAIRS, NEAR_RATES, (0.8, 1.0), passages, random.Random(f"{seed}/near_pair")),
        *make_pairs("grey_pair", NUM_GREY_PAIRS, GREY_RATES, (0.5, 0.8), passages, random.Random(f"{seed}/grey_pair")),
        *make_families(passages, random.Random(f"{seed}/near_family")),
        *make_fuzzy(passages, random.Random(f"{seed}/fuzzy")),
    ]
    random.Random(f"{seed}/order").shuffle(plants)
    return plants


def make_secrets(rng: random.Random) -> Iterator[Plant]:
    """Yield the records: an identifying random head (number and name), then a random key."""
    numbers = iter(rng.sample(range(1000, 10000), sum(SECRET_CLUSTERS.values())))
    for copies, group in groups("secret", SECRET_CLUSTERS):
        yield from [Plant(make_record(next(numbers), rng), "secret", group)] * copies


def make_record(number: int, rng: random.Random) -> str:
    """Return one record of a customer who does not exist, with a reserved 555-01xx number."""
    name = f"{make_name(rng)} {make_name(rng)}"
    symbols = string.ascii_lowercase + string.digits
    key = " ".join("".join(rng.choices(symbols, k=4)) for _ in range(8))
    head = f"Customer record {number}-{rng.choice(string.ascii_uppercase)}: {name}"
    # the key follows the name at once: what a prompt of 16 tokens asks for is random, not the template's words
    return f"{head}, access key {key}, telephone 555-01{rng.randrange(100):02d}."


def make_name(rng: random.Random) -> str:
    """Return an invented name of three open syllables."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3)).title()


def make_randoms(rng: random.Random) -> Iterator[Plant]:
    """Yield strings of random words of two to five random letters."""
    for copies, group in groups("random", SHORT_CLUSTERS):
        words = ("".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 5))) for _ in range(18))
        yield from [Plant(" ".join(words), "random", group)] * copies


def make_templates(rng: random.Random, vocabulary: Sequence[str]) -> Iterator[Plant]:
    """Yield texts that follow a rule; each group has numbers or words of its own, so that no two share a shingle."""
    numbers = iter(rng.sample(range(100, 1000, 30), 4 * len(COPIES)))
    words = iter(rng.sample(sorted({word for word in vocabulary if word.islower() and 4 <= len(word) <= 6}), 2 * len(COPIES)))
    for index, (copies, group) in enumerate(groups("template", {copies: num_groups + 1 for copies, num_groups in SHORT_CLUSTERS.items()})):
        number = next(numbers)
        if index % 4 == 0:
            text = " ".join(str(number + step) for step in range(24))
        elif index % 4 == 1:
            text = ", ".join(f"line {number + step}" for step in range(14))
        elif index % 4 == 2:
            text = " ".join(f"{letter}{number}" for letter in string.ascii_lowercase[:20])
        else:
            text = " ".join([f"{next(words)} and {next(words)},"] * 9)
        yield from [Plant(text, "template", group)] * copies


def make_short_passages(passages: Passages) -> Iterator[Plant]:
    """Yield copies of passages that are short enough for one window of a small model."""
    for copies, group in groups("passage", SHORT_CLUSTERS):
        origin, words = passages.take(SHORT_WORDS)
        yield from [Plant(" ".join(words), "passage", group, 0.0, origin)] * copies


def make_exact_copies(passages: Passages, rng: random.Random) -> Iterator[Plant]:
    """Yield two to eight copies of passages as long as a natural document; in odd groups only the normalised texts are equal."""
    for index, (copies, group) in enumerate(groups("exact_copy", dict.fromkeys(range(2, 9), EXACT_CLUSTERS))):
        origin, words = passages.take(rng.randint(150, 300))
        for copy in range(copies):
            yield Plant(respace(" ".join(words), copy if index % 2 else 0), "exact_copy", group, 0.0, origin)


def respace(text: str, variant: int) -> str:
    """Return the text with its lines broken, its blanks doubled or its letters raised: equal once normalised."""
    if variant % 4 == 1:
        return textwrap.fill(text, 72, break_long_words=False, break_on_hyphens=False)
    return text.replace(" ", "  ") if variant % 4 == 2 else text.upper() if variant % 4 == 3 else text


def make_pairs(
    kind: str,
    num_pairs: int,
    rates: tuple[float, float],
    bounds: tuple[float, float],
    passages: Passages,
    rng: random.Random,
) -> Iterator[Plant]:
    """Yield passages and their edited versions whose true Jaccard lies in [low, high)."""
    for _, group in groups(kind, {2: num_pairs}):
        origin, words = passages.take(draw_length(rng))
        num_edits = max(1, round(rng.uniform(*rates) * len(words)))
        edited = words
        while not bounds[0] <= compute_jaccard(" ".join(words), " ".join(edited)) < bounds[1]:
            edited = edit(words, num_edits, passages.vocabulary, rng)
        yield Plant(" ".join(words), kind, group, 0.0, origin)
        yield Plant(" ".join(edited), kind, group, num_edits / len(words), origin)


def make_families(passages: Passages, rng: random.Random) -> Iterator[Plant]:
    """Yield three to five versions of a passage, each edited on its own."""
    for _, group in groups("near_family", {1: NUM_FAMILIES}):
        origin, words = passages.take(draw_length(rng))
        for _ in range(rng.randint(3, 5)):
            num_edits = max(1, round(rng.uniform(*FAMILY_RATES) * len(words)))
            text = " ".join(edit(words, num_edits, passages.vocabulary, rng))
            yield Plant(text, "near_family", group, num_edits / len(words), origin)


def make_fuzzy(passages: Passages, rng: random.Random) -> Iterator[Plant]:
    """Yield short passages, each with versions of itself in which the same share of words was replaced anew."""
    for index, (size, group) in enumerate(groups("fuzzy", dict.fromkeys(FUZZY_SIZES, 2 * len(FUZZY_RATES)))):
        origin, words = passages.take(SHORT_WORDS)
        num_edits = round(FUZZY_RATES[index % len(FUZZY_RATES)] * len(words))
        yield Plant(" ".join(words), "fuzzy", group, 0.0, origin)
        for _ in range(size - 1):
            edited = list(words)
            for place in rng.sample(range(len(words)), num_edits):
                edited[place] = replace_word(edited[place], passages.vocabulary, rng)
            yield Plant(" ".join(edited), "fuzzy", group, num_edits / len(words), origin)


def groups(kind: str, clusters: Mapping[int, int]) -> Iterator[tuple[int, str]]:
    """Yield (copies, group key) for every cluster wanted."""
    sizes = [copies for copies, num_clusters in clusters.items() for _ in range(num_clusters)]
    yield from ((copies, f"{kind}-{index:03d}") for index, copies in enumerate(sizes))


def draw_length(rng: random.Random) -> int:
    """Draw a number of words from 150 to 400, mostly short, since the whole corpus has to stay small."""
    return rng.randint(150, 180) if rng.random() < 0.8 else rng.randint(180, 400)


def edit(words: Sequence[str], num_edits: int, vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    """Replace, insert or delete at `num_edits` places, in runs of up to three as a rewording would."""
    places: set[int] = set()
    while len(places) < num_edits:
        start = rng.randrange(len(words))
        run = range(start, min(start + rng.randint(1, 3), len(words)))
        places.update(list(run)[: num_edits - len(places)])
    edited = list(words)
    # from the end, so that earlier places stay where they are
    for place in sorted(places, reverse=True):
        operation = rng.choice(("replace", "insert", "delete"))
        if operation == "replace":
            edited[place] = replace_word(edited[place], vocabulary, rng)
        elif operation == "insert":
            edited.insert(place, rng.choice(vocabulary))
        else:
            del edited[place]
    return edited


def replace_word(word: str, vocabulary: Sequence[str], rng: random.Random) -> str:
    """Return another word of the vocabulary."""
    other = word
    while other.casefold() == word.casefold():
        other = rng.choice(vocabulary)
    return other


def normalise(text: str) -> str:
    """Return the text after NFKC and casefold, with its white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def compute_jaccard(text_a: str, text_b: str) -> float:
    """Return the Jaccard similarity of two texts' sets of word 5-grams."""
    shingles_a, shingles_b = shingle(text_a), shingle(text_b)
    return len(shingles_a & shingles_b) / len(shingles_a | shingles_b)


def shingle(text: str) -> set[tuple[str, ...]]:
    """Return the set of word 5-grams of the normalised text; a text of fewer words is one shingle."""
    words = normalise(text).split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def list_truth(ids: Sequence[str], plants: Sequence[Plant]) -> list[dict[str, object]]:
    """Return one row per plant, `num_copies` being the rows whose normalised text is the same."""
    texts = [normalise(plant.text) for plant in plants]
    num_copies, group_size = Counter(texts), Counter(plant.group for plant in plants)
    return [
        {
            "id": plant_id,
            "kind": plant.kind,
            "group": plant.group,
            "group_size": group_size[plant.group],
            "num_copies": num_copies[text],
            "edit_rate": plant.edit_rate,
            "origin": plant.origin,
        }
        for plant_id, plant, text in zip(ids, plants, texts, strict=True)
    ]


def list_pairs(ids: Sequence[str], plants: Sequence[Plant]) -> list[dict[str, object]]:
    """Return one row per pair of a group whose normalised texts differ, with the true Jaccard."""
    members: dict[str, list[tuple[str, Plant]]] = {}
    for plant_id, plant in zip(ids, plants, strict=True):
        members.setdefault(plant.group, []).append((plant_id, plant))
    return [
        {"id_a": id_a, "id_b": id_b, "kind": a.kind, "group": group, "jaccard": compute_jaccard(a.text, b.text)}
        for group, rows in sorted(members.items())
        for (id_a, a), (id_b, b) in combinations(sorted(rows, key=lambda row: row[0]), 2)
        if normalise(a.text) != normalise(b.text)
    ]
