"""Known answers: what other tools publish for small corpora, met by our candidate graph; and what exact comparison makes of each.

The others remove whatever shares a band, so their answer is that of our unverified candidates, at their settings. Settings, structure
and answers are theirs; the texts are not: they stand in for the originals with the same duplicates among them.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

import polars as pl
import pytest
from datasketch import MinHashLSH

from pipeline.config import DedupConfig
from pipeline.tables import Documents

Make = Callable[..., Documents]
Run = Callable[..., Any]
Groups = set[frozenset[int]]

# the filler text that printers made of Cicero, then Cicero: De finibus I 32-33, In Catilinam I 1
LATIN = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua. Ut enim "
    "ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat. Duis aute irure dolor in "
    "reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla pariatur. Excepteur sint occaecat cupidatat non proident, sunt "
    "in culpa qui officia deserunt mollit anim id est laborum. Sed ut perspiciatis unde omnis iste natus error sit voluptatem accusantium "
    "doloremque laudantium, totam rem aperiam, eaque ipsa quae ab illo inventore veritatis et quasi architecto beatae vitae dicta sunt "
    "explicabo. Nemo enim ipsam voluptatem quia voluptas sit aspernatur aut odit aut fugit, sed quia consequuntur magni dolores eos qui "
    "ratione voluptatem sequi nesciunt. Neque porro quisquam est, qui dolorem ipsum quia dolor sit amet, consectetur, adipisci velit, sed "
    "quia non numquam eius modi tempora incidunt ut labore et dolore magnam aliquam quaerat voluptatem. Ut enim ad minima veniam, quis "
    "nostrum exercitationem ullam corporis suscipit laboriosam, nisi ut aliquid ex ea commodi consequatur? Quis autem vel eum iure "
    "reprehenderit qui in ea voluptate velit esse quam nihil molestiae consequatur, vel illum qui dolorem eum fugiat quo voluptas nulla "
    "pariatur? At vero eos et accusamus et iusto odio dignissimos ducimus qui blanditiis praesentium voluptatum deleniti atque corrupti "
    "quos dolores et quas molestias excepturi sint occaecati cupiditate non provident, similique sunt in culpa qui officia deserunt "
    "mollitia animi, id est laborum et dolorum fuga. Et harum quidem rerum facilis est et expedita distinctio. Nam libero tempore, cum "
    "soluta nobis est eligendi optio cumque nihil impedit quo minus id quod maxime placeat facere possimus, omnis voluptas assumenda est, "
    "omnis dolor repellendus. Temporibus autem quibusdam et aut officiis debitis aut rerum necessitatibus saepe eveniet ut et voluptates "
    "repudiandae sint et molestiae non recusandae. Itaque earum rerum hic tenetur a sapiente delectus, ut aut reiciendis voluptatibus "
    "maiores alias consequatur aut perferendis doloribus asperiores repellat. Quo usque tandem abutere, Catilina, patientia nostra? Quam "
    "diu etiam furor iste tuus nos eludet? Quem ad finem sese effrenata iactabit audacia? Nihilne te nocturnum praesidium Palati, nihil "
    "urbis vigiliae, nihil timor populi, nihil concursus bonorum omnium, nihil hic munitissimus habendi senatus locus, nihil horum ora "
    "voltusque moverunt?"
)

CHINESE = (
    "清晨的港口还笼罩在薄雾里，三艘渔船已经靠岸。码头上的工人把一筐筐带鱼和鲳鱼抬上磅秤，记账的老人戴着眼镜，一笔一笔写下重量与价钱。"
    "去年秋天，镇里修好了冷库，从此卖不完的鱼不必当天贱卖，可以存到节日前再运往省城。年轻人起初不愿意回来，后来听说有了网上的订单，"
    "便陆续回到家乡，学着拍照、打包、写说明。到了中午，雾散了，海面亮得晃眼，学校放学的孩子沿着防波堤跑过来，向船上的父亲挥手。"
    "老船长说，海每天都不一样，人也一样，只有潮水的时间从不改变；他把修补好的渔网叠起来，准备傍晚再次出海。"
)


def shingles(text: str, *, are_characters: bool = False) -> set[tuple[str, ...]]:
    words = unicodedata.normalize("NFKC", text).casefold().split()
    units = list("".join(words)) if are_characters else words
    return {tuple(units[i : i + 5]) for i in range(max(1, len(units) - 4))}


def groups_of(names: Sequence[int], pairs: Iterable[tuple[int, int]]) -> Groups:
    """Return the connected components of a graph of places in `names`, by name."""
    group = {place: {place} for place in range(len(names))}
    for a, b in pairs:
        if group[a] is not group[b]:
            group[a] |= group[b]
            for place in group[b]:
                group[place] = group[a]
    return {frozenset(names[place] for place in members) for members in group.values()}


def proposed_groups(result: Any, names: Sequence[int]) -> Groups:
    return groups_of(names, result.candidates.select("doc_id_a", "doc_id_b").rows())


def verified_groups(result: Any, names: Sequence[int]) -> Groups:
    clusters = result.clusters.partition_by("cluster_id")
    return {frozenset(names[doc_id] for doc_id in cluster["doc_id"]) for cluster in clusters}


def true_groups(texts: Sequence[str], names: Sequence[int], threshold: float, *, are_characters: bool = False) -> Groups:
    """Return the components of all pairs at or above the threshold, by plain sets."""
    sets = [shingles(text, are_characters=are_characters) for text in texts]
    pairs = combinations(range(len(texts)), 2)
    return groups_of(names, [(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= threshold * len(sets[a] | sets[b])])


def singles_and(names: Iterable[int], *groups: set[int]) -> Groups:
    """Return the groups, and every other name alone."""
    return {frozenset({name}) for name in set(names).difference(*groups)} | {frozenset(group) for group in groups}


def with_words(text: str, words: dict[int, str]) -> str:
    """Return the text with the words at some places replaced."""
    return " ".join(words.get(place, word) for place, word in enumerate(text.split()))


@pytest.mark.parametrize(
    ("threshold", "num_perm", "wanted"), [(0.9, 128, (5, 25)), (0.8, 128, (9, 13)), (0.7, 256, (25, 10))], ids=["0.9", "0.8", "0.7"]
)
def test_datasketch_chooses_the_published_bands(threshold: float, num_perm: int, wanted: tuple[int, int]) -> None:
    """The installed datasketch chooses the published bands and rows."""
    index = MinHashLSH(threshold, num_perm)
    assert (index.b, index.r) == wanted


DATATROVE = [{0, 20, 50}, {400, 420}, {800, 810, 820, 840, 860}, {1205, 1215, 1225, 1245}, {1600}, {2000}]
OFFSETS = sorted(set().union(*DATATROVE))


def test_datatrove_windows_of_filler_text(make_documents: Make, deduplicate: Run) -> None:
    """Windows of 400 characters at datatrove's offsets, 14 bands of 8, word 5-grams: its six groups."""
    texts = [LATIN[offset : offset + 400] for offset in OFFSETS]
    assert {len(text) for text in texts} == {400}
    config = DedupConfig(num_perm=112, num_bands=14, rows_per_band=8)
    result = deduplicate([make_documents(texts)], config)
    assert proposed_groups(result, OFFSETS) == singles_and(OFFSETS, *DATATROVE)
    assert verified_groups(result, OFFSETS) == true_groups(texts, OFFSETS, 0.8) == singles_and(OFFSETS, *DATATROVE)
    # datatrove leaves one window of each group; directly compared, the ends of the long groups are too far apart for that
    hashes = dict(enumerate(result.signatures["content_hash"]))
    kept: list[set[tuple[str, ...]]] = []
    for place in sorted(hashes, key=lambda place: hashes[place]):
        own = shingles(texts[place])
        is_near = any(len(own & other) >= 0.8 * len(own | other) for other in kept)
        assert is_near == (place in result.removals["doc_id"])
        kept += [] if is_near else [own]
    assert len(kept) > len(DATATROVE)
    assert result.facts["num_transitive_only"] == len(kept) - len(DATATROVE)


# an article, and the article without its last two fifths; each again with a few words changed, the shorter one twice
SHORT = [
    "What a fine bright morning in May!",
    "Where may I buy a ticket?",
    "What a fine and bright morning in may!",
    "We measure how mills use water.",
]


def test_data_juicer_english(make_documents: Make, deduplicate: Run) -> None:
    """Nine texts, six stay: word 5-grams, 256 permutations in 25 bands of 10, threshold 0.7."""
    part = " ".join(LATIN.split()[: len(LATIN.split()) * 3 // 5])
    edits = [{7: "plants", 90: "pig"}, {3: "one", 60: "sum"}, {5: "two", 110: "less"}]
    long = [LATIN, with_words(LATIN, edits[0]), part, with_words(part, edits[1]), with_words(part, edits[2])]
    texts, names = [*SHORT, *long], range(9)
    result = deduplicate([make_documents(texts)], DedupConfig(num_perm=256, num_bands=25, rows_per_band=10, threshold=0.7))
    wanted = singles_and(names, {4, 5}, {6, 7, 8})
    assert proposed_groups(result, names) == wanted
    assert verified_groups(result, names) == true_groups(texts, names, 0.7) == wanted
    assert result.removals.height == 9 - 6


def test_data_juicer_chinese(make_documents: Make, deduplicate: Run) -> None:
    """Four texts, three stay: character 5-grams, one long text with a few characters put into its beginning."""
    texts, names = ["早上好，请问几点开门", "欢迎参观市立博物馆！", CHINESE, f"{CHINESE[:5]}时间：{CHINESE[5:]}"], range(4)
    result = deduplicate([make_documents(texts)], DedupConfig(num_perm=256, num_bands=25, rows_per_band=10, threshold=0.7))
    wanted = singles_and(names, {2, 3})
    assert proposed_groups(result, names) == wanted
    assert verified_groups(result, names) == true_groups(texts, names, 0.7, are_characters=True) == wanted
    assert result.removals.height == 4 - 3
    assert result.signatures["num_shingles"].to_list() == [len(shingles(text, are_characters=True)) for text in texts]


def test_data_prep_kit_twelve_documents(make_documents: Make, deduplicate: Run) -> None:
    """Of twelve ids eight go and four stay, at 14 bands of 8, word 5-grams, 0.75.

    Which of the eight belongs to which of the four is not published: families in order of their ids are assumed, and the four that stay
    are made the longest of their families.
    """
    families = [(1, 3), (4, 5, 6, 11), (12, 13, 14), (15, 16, 17)]
    rng = random.Random(3)
    texts = {}
    for kept, *others in families:
        words = [f"w{rng.randrange(10**6)}" for _ in range(120)]
        texts[kept] = " ".join([*words, "the", "full", "text"])
        for other in others:
            texts[other] = with_words(" ".join(words), {rng.randrange(20, 100): f"edit{other}"})
    names = sorted(texts)
    config = DedupConfig(num_perm=112, num_bands=14, rows_per_band=8, threshold=0.75)
    result = deduplicate([make_documents([texts[name] for name in names])], config)
    wanted = {frozenset(family) for family in families}
    assert proposed_groups(result, names) == wanted
    assert verified_groups(result, names) == true_groups([texts[name] for name in names], names, 0.75) == wanted
    assert {names[doc_id] for doc_id in result.removals["doc_id"]} == {3, 5, 6, 11, 13, 14, 16, 17}
    assert {names[doc_id] for doc_id in result.removals["kept_doc_id"]} == {1, 4, 12, 15}
    assert result.removals.filter(pl.col("jaccard") < 0.75).is_empty()
