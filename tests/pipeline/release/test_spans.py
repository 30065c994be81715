from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReleaseConfig
from pipeline.errors import TableError
from pipeline.release.decisions import placed_spans
from pipeline.release.spans import treated_spans
from pipeline.tables import REPEATED_SPANS

MASK = ReleaseConfig(spans="mask")


def _acting(kit: Any, texts: list[str | None], docs: list[Any] | None = None, config: ReleaseConfig = MASK) -> pl.DataFrame:
    ledger = kit.with_texts(kit.ledger(docs or [kit.Doc(number) for number in range(len(texts))]), texts)
    return placed_spans(ledger.ids, ledger.decide(config), ledger.spans, config).filter(pl.col("is_first").not_())


def test_all_occurrences_act_but_the_first_by_hash(kit: Any) -> None:
    """Whatever the order of rows, the same text keeps the span, and the others name it."""
    docs = [kit.Doc(number) for number in range(5)]
    texts = ["<a b c>", "x <a b c>", "<a b c> y", "none", "z <d>"]
    keepers = set()
    for order in ([0, 1, 2, 3, 4], [4, 2, 1, 0, 3]):
        acting = _acting(kit, [texts[number] for number in order], [docs[number] for number in order])
        assert acting.height == 2
        (kept,) = set(acting["kept_doc_id"])
        assert kept not in acting["doc_id"].to_list()
        keepers.add(order[kept])
    assert len(keepers) == 1


def test_a_further_occurrence_in_the_first_document_acts_too(kit: Any) -> None:
    """A span is learnt once, not once a document."""
    acting = _acting(kit, ["<a> and <a>", "<a> or <a> or <a>"])
    assert acting.height == 4
    (kept,) = set(acting["kept_doc_id"])
    assert acting.filter(pl.col("doc_id") == kept)["start"].min() > 0  # type: ignore[operator]


def test_documents_that_are_not_released_keep_nothing_from_being_learnt(kit: Any) -> None:
    """Where one holder is dropped or held back, the other keeps its span."""
    held = ReleaseConfig(policy="review", hold_review=True, spans="mask")
    for sink in range(2):
        docs = [kit.Doc(number, score=(1.0 if number == sink else 0.0, 0.0, True)) for number in range(2)]
        assert _acting(kit, ["<a>", "<a>"], docs, held).is_empty()
        assert _acting(kit, ["<a>", "<a>"], docs, MASK).height == 1
    copies = [kit.Doc(0, "a"), kit.Doc(0, "b")]
    assert _acting(kit, ["<a>", "<a>"], copies).is_empty()


def test_nothing_acts_under_report_and_nothing_is_done_without_the_table(kit: Any) -> None:
    """Policy `report` lists; `mask` and `trim` refuse to act blindly."""
    assert _acting(kit, ["<a>", "<a>"], config=ReleaseConfig()).is_empty()
    ledger = kit.ledger([kit.Doc(0)])
    for policy in ("mask", "trim"):
        with pytest.raises(TableError, match=r"nobody looked for repeated spans.*find_spans"):
            ledger.decide(ReleaseConfig(spans=policy))


def test_spans_outside_their_text_are_refused(kit: Any) -> None:
    """A span that ends behind the text, or belongs to no document, names its place."""
    ledger = kit.with_texts(kit.ledger([kit.Doc(0), kit.Doc(1)]), ["<a>", "<a>"])
    for broken in (ledger.spans.with_columns(end=pl.lit(4)), ledger.spans.with_columns(doc_id=pl.col("doc_id") + 1)):
        kit_ledger = kit.replace(ledger, spans=broken)
        with pytest.raises(TableError, match=r"lie outside their document's text; in table repeated_spans, doc_id"):
            kit_ledger.decide(MASK)


def test_what_acts_acts_whole_whatever_stays_beside_it(kit: Any) -> None:
    """Of two spans that overlap the one that stays loses what the other takes; touching spans are treated as one."""
    placed = pl.DataFrame(
        [(0, 0, 9, True), (0, 6, 15, False), (0, 12, 20, True), (0, 30, 40, False), (0, 40, 50, False), (1, 0, 5, True), (1, 2, 5, False)],
        schema={"doc_id": pl.Int64, "start": pl.Int64, "end": pl.Int64, "is_first": pl.Boolean},
        orient="row",
    )
    assert treated_spans(placed).rows() == [(0, 6, 15), (0, 30, 50), (1, 2, 5)]


def test_spans_with_the_same_holders_stay_in_one_document(kit: Any) -> None:
    """Where documents hold the same windows in spans of other lengths, one document keeps all of them and the others none."""
    ledger = kit.with_texts(kit.ledger([kit.Doc(number) for number in range(3)]), ["<a b> <c>", "<a b> <c>", "<a b> <c>"])
    longer = pl.when(pl.col("doc_id") == 1).then(pl.col("span_hash") + pl.lit(b"longer")).otherwise(pl.col("span_hash"))
    spans = REPEATED_SPANS.check(ledger.spans.with_columns(holders=pl.lit(7, pl.UInt64), span_hash=longer))
    acting = placed_spans(ledger.ids, kit.replace(ledger, spans=spans).decide(MASK), spans, MASK).filter(pl.col("is_first").not_())
    (kept,) = set(acting["kept_doc_id"])
    assert sorted(acting["doc_id"]) == sorted([doc for doc in range(3) if doc != kept] * 2)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 8), st.booleans()).map(lambda s: (s[0], s[1], s[1] + s[2], s[3])),
        max_size=12,
    )
)
def test_treated_text_is_all_that_acts(spans: list[tuple[int, int, int, bool]]) -> None:
    """Byte by byte, with a gap between any two treated spans of a document."""
    schema = {"doc_id": pl.Int64, "start": pl.Int64, "end": pl.Int64, "is_first": pl.Boolean}
    treated = treated_spans(pl.DataFrame(spans, schema=schema, orient="row")).rows()
    acting = {(doc, at) for doc, start, end, is_first in spans if not is_first for at in range(start, end)}
    assert {(doc, at) for doc, start, end in treated for at in range(start, end)} == acting
    assert treated == sorted(treated)
    assert all(a[0] != b[0] or a[2] < b[1] for a, b in pairwise(treated))
