"""After a release acted on repeated spans, no text is left that repeats, and none is lost."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.spans import find_spans
from pipeline.release.spans import place_spans, treated_spans
from pipeline.release.treatment import cut_spans
from pipeline.tables import RepeatedSpans

PASSAGES = [[f"{name}{i}" for i in range(40)] for name in "pq"] + [(["x", "y", "z"] * 14)[:40]]
SLICES = st.tuples(st.integers(0, 2), st.integers(0, 39), st.integers(1, 40)).map(lambda s: PASSAGES[s[0]][s[1] : s[1] + s[2]])
DOCUMENTS = st.lists(st.tuples(st.lists(SLICES, max_size=5), st.booleans(), st.booleans()), min_size=2, max_size=8)


def spans_of(folder: Path, texts: dict[int, str], config: DedupConfig) -> RepeatedSpans:
    rows = pl.DataFrame(list(texts.items()), schema={"doc_id": pl.Int64, "text": pl.String}, orient="row")
    documents = store.publish_frame("documents", f"{folder}/documents", rows)
    kept = pl.DataFrame(
        {"doc_id": list(texts), "cluster_id": [bytes([doc]) for doc in texts]}, schema={"doc_id": pl.Int64, "cluster_id": pl.Binary}
    )
    return find_spans(documents, kept, config, f"{folder}/scratch")[0]


@settings(max_examples=150, deadline=None)
@given(documents=DOCUMENTS, order=st.randoms(use_true_random=False), min_documents=st.integers(2, 3))
def test_no_text_repeats_after_a_release_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, documents: list[tuple[list[list[str]], bool, bool]], order: object, min_documents: int
) -> None:
    """However slices of common text overlap, and whichever documents are released, what is left between cuts is in one of them only.

    Some documents put words of their own between the slices, others let them touch. Of the released words none is gone from all texts.
    """
    config = DedupConfig(min_span_words=8, min_span_documents=min_documents)
    texts = {
        doc: " \n".join(f"{' '.join(words)}{f' own{doc}-{i}' if parts else ''}" for i, words in enumerate(slices))
        for doc, (slices, parts, _) in enumerate(documents)
    }
    spans = spans_of(tmp_path_factory.mktemp("before"), texts, config)
    ranks = list(range(len(texts)))
    order.shuffle(ranks)  # type: ignore[attr-defined]
    holders = pl.DataFrame(
        {"doc_id": list(texts), "content_hash": [bytes([rank]) for rank in ranks], "row_hash": [b""] * len(ranks)},
        schema={"doc_id": pl.Int64, "content_hash": pl.Binary, "row_hash": pl.Binary},
    ).filter(pl.Series([released for _, _, released in documents]))
    treated = treated_spans(place_spans(spans, holders))
    left: dict[int, list[str]] = {}
    for doc in holders["doc_id"]:
        data, bounds = texts[doc].encode(), treated.filter(pl.col("doc_id") == doc).select("start", "end").rows()
        edges = [0, *(edge for pair in bounds for edge in pair), len(data)]
        left[doc] = [data[edges[i] : edges[i + 1]].decode() for i in range(0, len(edges), 2)]
        assert cut_spans(data, bounds).split() == " ".join(left[doc]).split(), "a trim leaves just what is not masked, and whole words"
    again = {doc: f" cut{doc} ".join(pieces) for doc, pieces in left.items()}
    assert spans_of(tmp_path_factory.mktemp("after"), again, config).is_empty()
    before, after = ({word for doc in left for word in every[doc].split()} for every in (texts, again))
    assert before <= after
