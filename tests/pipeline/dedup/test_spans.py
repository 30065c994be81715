"""Repeated spans: what is found equals a plain count of all windows, in bytes of the user's own text, however the documents lie."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.facts import Facts
from pipeline.dedup.span_anchors import anchor_texts
from pipeline.dedup.spans import anchors_path, find_spans, keep_anchors
from pipeline.tables import RepeatedSpans
from pipeline.text import normalise, padded_buffers

Text = str | None
Row = tuple[int, int, int, int, int, int]
COLUMNS = ("doc_id", "start", "end", "num_words", "num_occurrences", "num_documents")
CONFIG = DedupConfig(min_span_words=8, min_span_documents=2, num_partitions=3)


def run(
    folder: Path,
    parts: Sequence[Sequence[tuple[int, Text]]],
    clusters: dict[int, bytes] | None = None,
    config: DedupConfig = CONFIG,
    anchors: str | None = None,
) -> tuple[RepeatedSpans, Facts]:
    """Find the spans of parts of (doc_id, text); documents without a cluster of their own in `clusters`, where given, are not kept."""
    schema = {"doc_id": pl.Int64, "text": pl.String}
    names = store.part_names(len(parts))
    written = [
        store.write_part(f"{folder}/documents", name, pl.DataFrame(part, schema=schema, orient="row"))
        for name, part in zip(names, parts, strict=True)
    ]
    documents = store.publish("documents", f"{folder}/documents", written)
    known = clusters if clusters is not None else {doc_id: doc_id.to_bytes(16, "big") for part in parts for doc_id, _ in part}
    kept = pl.DataFrame({"doc_id": list(known), "cluster_id": list(known.values())}, schema={"doc_id": pl.Int64, "cluster_id": pl.Binary})
    return find_spans(documents, kept, config, f"{folder}/scratch", anchors)


def plain_spans(texts: Mapping[int, Text], clusters: dict[int, bytes], config: DedupConfig) -> list[tuple[int, int, int, int, int]]:
    """Count every window of ASCII texts; return doc_id, first and last word, occurrences and documents of each run with equal holders."""
    width = config.min_span_words
    words = {doc_id: normalise(text or "").split() for doc_id, text in texts.items()}
    windows = {doc_id: [tuple(own[i : i + width]) for i in range(len(own) - width + 1)] for doc_id, own in words.items()}
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for doc_id, own in windows.items():
        for window in own:
            holders[window].append(doc_id)
    spans = []
    for doc_id, own in sorted(windows.items()):
        at = 0
        for held_by, run in groupby(own, key=lambda window: frozenset(holders[window])):
            counts = [len(holders[window]) for window in run]
            documents = len({clusters[holder] for holder in held_by})
            if documents >= config.min_span_documents:
                spans.append((doc_id, at, at + len(counts) - 1 + width, min(counts), documents))
            at += len(counts)
    return spans


def word_bounds(text: str) -> list[tuple[int, int]]:
    """Return the bytes of each word of an ASCII text."""
    bounds, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        bounds.append((at, at + len(word)))
        at += len(word)
    return bounds


def in_bytes(texts: Mapping[int, Text], spans: list[tuple[int, int, int, int, int]]) -> list[Row]:
    bounds = {doc_id: word_bounds(text or "") for doc_id, text in texts.items()}
    return [(doc, bounds[doc][first][0], bounds[doc][end - 1][1], end - first, *counts) for doc, first, end, *counts in spans]  # type: ignore[misc]


def rows(spans: RepeatedSpans) -> list[Row]:
    return spans.select(COLUMNS).rows()


def passage(generator: random.Random, num_words: int) -> str:
    return " ".join(f"w{generator.randrange(10**6)}" for _ in range(num_words))


# few words, so that windows of eight do come again
DOCUMENTS = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from(["Alpha beta ", "gamma\n\t delta ", "epsilon zeta eta theta ", "a b c d e f g h i j ", "x "]), max_size=12
        ).map("".join),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(documents=DOCUMENTS, min_documents=st.integers(2, 3), width=st.sampled_from([8, 9, 13]))
def test_spans_equal_a_plain_count(
    tmp_path_factory: pytest.TempPathFactory, documents: list[tuple[str, int, int]], min_documents: int, width: int
) -> None:
    """Every run with the same holders, its bytes and its counts are those of counting all windows one by one; facts count the same."""
    texts = {doc_id: text for doc_id, (text, _, _) in enumerate(documents)}
    clusters = {doc_id: bytes([cluster]) * 16 for doc_id, (_, cluster, _) in enumerate(documents)}
    parts = [[(doc_id, text) for doc_id, (text, _, own) in enumerate(documents) if own == part] for part in range(3)]
    config = DedupConfig(min_span_words=width, min_span_documents=min_documents, num_partitions=2)
    spans, facts = run(tmp_path_factory.mktemp("spans"), parts, clusters, config)
    expected = plain_spans(texts, clusters, config)
    assert rows(spans) == in_bytes(texts, expected)
    sizes = [len(text.split()) for text in texts.values()]
    assert facts["num_windows"] == sum(max(0, size - width + 1) for size in sizes)
    assert facts["num_repeated_windows"] == sum(end - first - width + 1 for _, first, end, _, _ in expected)
    covered = {(doc, byte) for doc, start, end, *_ in in_bytes(texts, expected) for byte in range(start, end)}
    assert facts["span_bytes"] == len(covered)
    assert (facts["num_spans"], facts["num_span_documents"]) == (len(expected), len({doc for doc, *_ in expected}))
    said = {(spans["span_hash"][i], tuple(normalise(texts[doc][start:end]).split())) for i, (doc, start, end, *_) in enumerate(rows(spans))}
    assert len(said) == len({each for each, _ in said}) == len({each for _, each in said}) == facts["num_distinct_spans"]


def test_planted_spans_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Of passages planted in texts of random words, at least .99 are found whole, and of what is found at least .99 was planted."""
    generator = random.Random(7)
    config = DedupConfig(min_span_words=32, min_span_documents=3)
    passages = [passage(generator, generator.randrange(32, 90)) for _ in range(40)]
    texts, planted = {}, {}
    for doc_id in range(200):
        pieces = [passage(generator, generator.randrange(1, 200))]
        for own in generator.sample(range(len(passages)), generator.randrange(6)):
            before = len(" ".join(pieces)) + 1
            planted[doc_id, before, before + len(passages[own])] = own
            pieces += [passages[own], passage(generator, generator.randrange(1, 200))]
        texts[doc_id] = " ".join(pieces)
    copies = list(planted.values())
    assert all(copies.count(own) >= 3 for own in set(copies)), "the seed plants every passage often enough"
    spans, _ = run(tmp_path, [list(texts.items())], config=config)
    found = set(spans.select("doc_id", "start", "end").rows())
    assert len(found & planted.keys()) >= 0.99 * max(len(planted), len(found))
    wanted = {(doc, byte) for doc, start, end in planted for byte in range(start, end)}
    held = {(doc, byte) for doc, start, end in found for byte in range(start, end)}
    assert len(wanted & held) >= 0.99 * max(len(wanted), len(held))
    hashes = {(planted[row["doc_id"], row["start"], row["end"]], row["span_hash"]) for row in spans.iter_rows(named=True)}
    assert len(hashes) == len(set(copies)), "equal spans have equal hashes, and no others"


def test_a_passage_inside_one_cluster_or_one_document_is_no_span(tmp_path: Path) -> None:
    """Repetition counts across clusters only; a removed document neither holds a span nor helps to make one."""
    generator = random.Random(3)
    within, inside, removed = (passage(generator, 20) for _ in range(3))
    texts = [
        f"{within} {passage(generator, 9)}",
        f"{passage(generator, 5)} {within}",
        f"{inside} and {inside} or {inside}",
        removed,
        removed,
    ]
    clusters = {0: b"a" * 16, 1: b"a" * 16, 2: b"b" * 16, 3: b"c" * 16}
    spans, facts = run(tmp_path, [list(enumerate(texts))], clusters)
    assert spans.is_empty()
    assert facts["num_windows"] > 0


def test_the_result_does_not_depend_on_parts_order_or_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same documents in other parts, another order and other partitions give the same table."""
    generator = random.Random(5)
    passages = [passage(generator, 30) for _ in range(4)]
    texts = [f"{passage(generator, 25)} {generator.choice(passages)} {passage(generator, 12)}" for _ in range(30)]
    documents: list[tuple[int, Text]] = list(enumerate(texts))
    expected, facts = run(tmp_path / "one", [documents])
    assert expected.height == 30
    mixed = generator.sample(documents, len(documents))
    parts = [mixed[:1], [], mixed[1:20], mixed[20:]]
    for windows in (10**6, 40):
        monkeypatch.setattr("pipeline.dedup.spans.WINDOWS_PER_PARTITION", windows)
        spans, counts = run(tmp_path / f"{windows}", parts)
        assert spans.equals(expected)
        assert counts == facts


def test_pieces_of_windows_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows written in many small pieces, across parts, give the same table as in one."""
    generator = random.Random(6)
    shared = passage(generator, 40)
    parts = [[(doc_id, f"{passage(generator, 10)} {shared} {passage(generator, 3)}")] for doc_id in range(9)]
    expected, _ = run(tmp_path / "one", parts)
    monkeypatch.setattr("pipeline.dedup.spans.WINDOWS_PER_PIECE", 50)
    spans, _ = run(tmp_path / "many", parts)
    assert expected.height == 9
    assert spans.equals(expected)


def test_only_documents_that_may_repeat_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pass asks for the rows that hold the passage and for no others."""
    generator = random.Random(8)
    shared = passage(generator, 20)
    texts = [f"{passage(generator, 30)} {shared}" if doc_id in (2, 5) else passage(generator, 60) for doc_id in range(8)]
    asked = []
    real = store.iter_chosen

    def listen(path: str, columns: Sequence[str], is_chosen: object) -> object:
        asked.append([i for i, chosen in enumerate(is_chosen) if chosen])  # type: ignore[var-annotated,arg-type]
        return real(path, columns, is_chosen)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.dedup.spans.iter_chosen", listen)
    spans, _ = run(tmp_path, [list(enumerate(texts))])
    assert asked == [list(range(8)), [2, 5]]
    assert spans["doc_id"].to_list() == [2, 5]


def test_anchors_made_while_reading_are_used_and_broken_ones_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors from blocks of normalised texts, in slices, give the same spans without reading every text; half a file counts for none."""
    generator = random.Random(4)
    shared = passage(generator, 30)
    texts: list[Text] = [f"{passage(generator, 40)} {shared}" if i % 4 == 1 else passage(generator, i) for i in range(40)]
    parts = [list(enumerate(texts))[:15], list(enumerate(texts))[15:]]
    expected, facts = run(tmp_path / "without", parts)
    whole = pa.concat_tables([anchor_texts(*padded_buffers(pa.array(texts[i : i + 7])), CONFIG) for i in range(0, 40, 7)])
    for name, anchored in zip(store.part_names(2), (whole.slice(0, 15), whole.slice(15)), strict=True):
        keep_anchors(f"{tmp_path}/anchors", name, anchored)
    asked = []
    real = store.iter_chosen

    def listen(path: str, columns: Sequence[str], is_chosen: npt.NDArray[np.bool_]) -> object:
        asked.append(int(is_chosen.sum()))
        return real(path, columns, is_chosen)

    monkeypatch.setattr("pipeline.dedup.spans.iter_chosen", listen)
    for make_again in ([], [15]):
        asked.clear()
        spans, counts = run(tmp_path / f"with-{len(make_again)}", parts, anchors=f"{tmp_path}/anchors")
        assert spans.equals(expected)
        assert counts == facts
        assert asked == [*make_again, 4, 6]
        first = Path(anchors_path(f"{tmp_path}/anchors", "part-00000"))
        first.write_bytes(first.read_bytes()[:-4])


def test_spans_in_scripts_without_blanks_are_runs_of_characters(tmp_path: Path) -> None:
    """A sentence inside two Chinese texts, wrapped elsewhere, is one span of characters."""
    shared = "天地玄黄宇宙洪荒日月盈昃辰宿列张"
    texts = [f"甲乙丙丁戊己庚{shared}辛壬癸子", f"春夏秋冬梅兰竹{shared[:5]}\n{shared[5:]}菊东西南北"]
    spans, _ = run(tmp_path, [list(enumerate(texts))])
    found = [texts[doc].encode()[start:end].decode() for doc, start, end, *_ in rows(spans)]
    assert found == [shared, f"{shared[:5]}\n{shared[5:]}"]
    assert spans["num_words"].to_list() == [16, 16]
    assert spans["span_hash"].n_unique() == 1


def test_offsets_are_bytes_of_the_raw_text(tmp_path: Path) -> None:
    """Accents, ligatures, exotic blanks and case do not hide a span, and its bytes are those of each document's own text."""
    plain = "the file café is free software of the second office"
    other = "The\u2003ﬁle\u00a0CAFE\u0301  is\r\nFREE software of\u3000the second oﬃce"
    texts = [f"é {plain} one", f"ａｂ 🙂🙂 {other}\u2028two", None, ""]
    spans, _ = run(tmp_path, [list(enumerate(texts))])
    assert [(texts[doc] or "").encode()[start:end].decode() for doc, start, end, *_ in rows(spans)] == [plain, other]
    assert spans["span_hash"].n_unique() == 1


def test_a_long_line_is_searched_like_any_text(tmp_path: Path) -> None:
    """A document of one line and a megabyte holds the spans that a short one shares with it, at its end too."""
    generator = random.Random(9)
    first, last = passage(generator, 12), passage(generator, 15)
    line = f"{first} {passage(generator, 140_000)} {last}"
    assert len(line) > 10**6
    spans, _ = run(tmp_path, [[(0, line), (1, f"{last} unlike {first}")]])
    assert rows(spans) == [
        (0, 0, len(first), 12, 2, 2),
        (0, len(line) - len(last), len(line), 15, 2, 2),
        (1, 0, len(last), 15, 2, 2),
        (1, len(last) + 8, len(last) + 8 + len(first), 12, 2, 2),
    ]


@pytest.mark.parametrize("parts", [[], [[]], [[(0, None), (1, ""), (2, " \u00a0 "), (3, "too short to repeat")]]])
def test_without_windows_there_are_no_spans(tmp_path: Path, parts: list[list[tuple[int, Text]]]) -> None:
    """No documents, empty and null texts and short ones give an empty table and counts of nothing."""
    spans, facts = run(tmp_path, parts)
    assert spans.is_empty()
    assert set(facts.values()) == {0}
    assert set(facts) >= {"num_windows", "num_repeated_windows", "num_spans", "num_span_documents", "span_bytes", "num_distinct_spans"}


def test_a_text_of_one_word_repeated_is_one_span(tmp_path: Path) -> None:
    """Windows that overlap their own copies are counted once each, and join into one span a document."""
    spans, _ = run(tmp_path, [[(0, "no " * 30), (1, "no " * 10 + "more")]])
    assert rows(spans) == [(0, 0, 89, 30, 26, 2), (1, 0, 29, 10, 26, 2)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_hostile_texts_hold_a_planted_span(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever surrounds a passage, the bytes that are reported begin and end with whole characters and hold its words."""
    around = st.text(alphabet=st.sampled_from("aé´ﷺ\u0301\u00a0\u2003\u0085 \n漢ｶﾞ🙂ß"), max_size=12)
    shared = "one two three four five six seven eight nine"
    texts = [data.draw(around) + " " + shared + " " + data.draw(around) for _ in range(2)]
    spans, _ = run(tmp_path_factory.mktemp("spans"), [list(enumerate(texts))])
    assert spans["doc_id"].unique().sort().to_list() == [0, 1]
    held = [
        (doc, normalise((texts[doc]).encode()[start:end].decode()).split(), num_words) for doc, start, end, num_words, *_ in rows(spans)
    ]
    assert all(len(said) >= num_words for _, said, num_words in held)
    assert {doc for doc, said, _ in held if f" {shared} " in f" {' '.join(said)} "} == {0, 1}
