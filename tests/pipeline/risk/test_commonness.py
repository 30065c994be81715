"""How much of a text other texts say too."""

from __future__ import annotations

import math
import random
from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.risk.commonness import MIN_GRAMS, GramTally, commonness, piece_grams
from pipeline.tables import CLUSTERS, Clusters

Texts = list[tuple[str, str]]  # cluster, text
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", ",", "A"]), max_size=9).map(" ".join)


def _clusters(texts: Texts) -> Clusters:
    sizes = [sum(other == cluster for other, _ in texts) for cluster, _ in texts]
    rows = [(doc_id, cluster.encode(), size) for doc_id, ((cluster, _), size) in enumerate(zip(texts, sizes, strict=True))]
    return CLUSTERS.check(pl.DataFrame(rows, schema=dict(CLUSTERS.columns), orient="row"))


def _measure(texts: Texts, max_held: int = 1 << 20) -> dict[bytes, float]:
    tally = GramTally(max_held)
    for doc_id, (_, text) in enumerate(texts):
        tally.add(doc_id, piece_grams(text))
    return dict(commonness(tally.frame(), _clusters(texts)).iter_rows())


def _plainly(texts: Texts) -> dict[bytes, float]:
    holders: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for cluster, text in texts:
        pieces = text.split()
        for place in range(len(pieces) - 2):
            holders[tuple(pieces[place : place + 3])].add(cluster)
    own: dict[str, list[float]] = defaultdict(list)
    for clusters in holders.values():
        for cluster in clusters:
            own[cluster].append(math.log2(len(clusters)))
    return {cluster.encode(): sum(logs) / len(logs) for cluster, logs in own.items() if len(logs) >= MIN_GRAMS}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pqrs"), WORDS), max_size=8))
def test_it_equals_the_plain_count(texts: Texts) -> None:
    """Each distinct n-gram of a cluster counts once, by the clusters that hold it."""
    assert _measure(texts) == pytest.approx(_plainly(texts))


def test_what_no_other_cluster_says_is_not_common_and_copies_do_not_count() -> None:
    """Text of its own has commonness 0, however many copies its cluster holds; text that all clusters share has the most there is."""
    same = "one two three four five six"
    assert _measure([("p", same), ("p", same), ("q", "seven eight nine ten eleven twelve")]) == {b"p": 0.0, b"q": 0.0}
    assert _measure([(name, same) for name in "pqrstuvw"]) == dict.fromkeys([name.encode() for name in "pqrstuvw"], 3.0)


def test_case_and_punctuation_count() -> None:
    """A tokenizer tells cases and marks apart, and so does this."""
    grams = [set(piece_grams(text).tolist()) for text in ("the old house, here", "The old house, here", "the old house here")]
    assert [len(piece) for piece in grams] == [3, 3, 2]
    assert len(grams[0] & grams[1]) == 2
    assert len(grams[0] & grams[2]) == 1
    assert piece_grams("two words").size == 0


def test_a_share_of_the_n_grams_says_nearly_the_same_whatever_the_order() -> None:
    """Where not all n-grams can be held, the same share is held in any order of documents, and the estimate stays close."""
    rng = random.Random(7)
    words = [f"w{number}" for number in range(30)]
    texts = [(f"c{at}", " ".join(rng.choices(words[: 5 + at % 20], k=400))) for at in range(60)]
    tallies = []
    for order in (range(60), reversed(range(60))):
        tally = GramTally(2_000)
        for doc_id in order:
            tally.add(doc_id, piece_grams(texts[doc_id][1]))
        tallies.append(tally)
    frames = [tally.frame().sort("doc_id", "gram") for tally in tallies]
    assert frames[0].equals(frames[1])
    assert tallies[0].share == tallies[1].share < 1
    assert frames[0].height <= 2_000
    exact, sampled = _measure(texts), _measure(texts, 2_000)
    assert max(abs(exact[cluster] - value) for cluster, value in sampled.items()) < 1.0
    assert sum(abs(exact[cluster] - value) for cluster, value in sampled.items()) / len(sampled) < 0.3
