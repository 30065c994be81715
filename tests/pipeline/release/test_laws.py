"""The ledger's laws on random corpora: keys, balance, direct explanations, and ids that decide nothing."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import is_released, placed_spans
from pipeline.release.filtering import filter_documents
from pipeline.release.gates import judge

CONFIGS = st.builds(
    ReleaseConfig,
    policy=st.sampled_from(["report", "downweight", "review", "drop"]),
    drop_threshold=st.sampled_from([0.0, 0.5, 1.0]),
    max_drop_share=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    hold_review=st.booleans(),
    rows_per_shard=st.sampled_from([1, 3, 100]),
)
PIECES = st.sampled_from(["alpha", "bêta", "γ", "<one>", "<two é>", "<漢字 three>"])
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from([" ", "\n", "\n\n "])).map("".join), min_size=1, max_size=6).map("".join)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), config=CONFIGS)
def test_keys_are_unique_and_every_row_has_one_decision(kit: Any, data: st.DataObject, config: ReleaseConfig) -> None:
    """Laws 1 and 2: the same doc_ids as came in, once each, in order; no reference leads out of the table."""
    docs, alike, max_copies = data.draw(kit.corpora())
    ledger = kit.ledger(docs, alike, max_copies)
    decisions = ledger.decide(config)
    assert decisions["doc_id"].to_list() == list(range(len(docs)))
    assert set(decisions["kept_doc_id"].drop_nulls()) <= set(range(len(docs)))
    assert decisions["weight"].is_between(0.0, 1.0).all()
    assert (decisions["action"] == "drop").to_list() == (decisions["weight"] == 0.0).to_list()


@settings(max_examples=80, deadline=None)
@given(data=st.data(), config=CONFIGS)
def test_every_removal_is_explained_by_a_verified_pair_with_a_kept_document(kit: Any, data: st.DataObject, config: ReleaseConfig) -> None:
    """Law 3, and its other half: who is not explained that way stays, unless empty or a sink within the limit."""
    docs, alike, max_copies = data.draw(kit.corpora())
    ledger = kit.ledger(docs, alike, max_copies)
    rows = ledger.decide(config).rows(named=True)
    for row in rows:
        if row["reason"] in ("exact_duplicate", "near_duplicate"):
            assert row["action"] == "drop"
            assert rows[row["kept_doc_id"]]["action"] != "drop"
            assert kit.is_verified(docs[row["doc_id"]], docs[row["kept_doc_id"]], alike)
    sinks = sum(row["action"] == "drop" and row["reason"] == "sink_risk" for row in rows)
    survivors = sum(row["reason"] not in ("empty", "exact_duplicate", "near_duplicate") for row in rows)
    assert sinks <= config.max_drop_share * survivors + 1e-9


@settings(max_examples=60, deadline=None)
@given(data=st.data(), config=CONFIGS)
def test_the_order_of_files_decides_nothing(kit: Any, data: st.DataObject, config: ReleaseConfig) -> None:
    """Law 4: documents under other ids have the same multiset of (row_hash, action, weight, reason, evidence)."""
    docs, alike, max_copies = data.draw(kit.corpora())
    outcomes = []
    for order in (docs, data.draw(st.permutations(docs))):
        ledger = kit.ledger(order, alike, max_copies)
        decisions = ledger.decide(config)
        joined = decisions.join(ledger.ids, on="doc_id").select("row_hash", "action", "weight", "reason", "evidence")
        outcomes.append(sorted(joined.rows()))
    assert outcomes[0] == outcomes[1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), config=CONFIGS, rows_per_part=st.sampled_from([1, 4, 100]))
def test_rows_in_are_rows_kept_plus_rows_removed(kit: Any, data: st.DataObject, config: ReleaseConfig, rows_per_part: int) -> None:
    """Law 2 over the written files: in total and within every source, and the gate agrees."""
    docs, alike, max_copies = data.draw(kit.corpora())
    ledger = kit.ledger(docs, alike, max_copies)
    decisions = ledger.decide(config)
    user = pa.table({"text": pa.array([None if doc.text is None else f"text {doc.text}" for doc in docs], pa.string())})
    user = user.append_column("number", pa.array(range(len(docs)), pa.int32()))
    with tempfile.TemporaryDirectory() as folder:
        documents = kit.store(f"{folder}/documents", ledger.ids, user, "text", rows_per_part)
        filtered = filter_documents(documents, decisions, f"{folder}/out", config)
        files = [pl.read_parquet(f"{folder}/out/{shard.path}", memory_map=False) for shard in filtered.shards]
    released = decisions.filter(is_released(config))["doc_id"].to_list()
    assert [number for file in files for number in file["number"]] == released
    gone = Counter(docs[row].source for row in set(range(len(docs))) - set(released))
    assert Counter(doc.source for doc in docs) == Counter(filtered.rows_by_source) + gone
    assert all(0 < file.height <= config.rows_per_shard for file in files)
    gates = judge(ledger.ids, ledger.clusters, ledger.scores, decisions, filtered.rows_by_source, config)
    assert gates[0].status == "pass"
    assert gates[1].status == ("pass" if released else "fail")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), config=CONFIGS, policy=st.sampled_from(["mask", "trim"]))
def test_a_repeated_span_is_learnt_at_most_once(kit: Any, data: st.DataObject, config: ReleaseConfig, policy: str) -> None:
    """Of each span one occurrence stays in all released rows; all words outside spans stay; rows add up; masks lie inside the text."""
    docs, alike, max_copies = data.draw(kit.corpora())
    config = config.model_copy(update={"spans": policy})
    by_number = data.draw(st.lists(TEXTS, min_size=8, max_size=8))
    texts = [None if doc.text is None else by_number[doc.text] for doc in docs]
    ledger = kit.with_texts(kit.ledger(docs, alike, max_copies), texts)
    decisions = ledger.decide(config)
    placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
    user = pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(range(len(docs)), pa.int32())})
    with tempfile.TemporaryDirectory() as folder:
        documents = kit.store(f"{folder}/documents", ledger.ids, user, "text", 3)
        filtered = filter_documents(documents, decisions, f"{folder}/out", config, placed=placed)
        rows = [row for shard in filtered.shards for row in pl.read_parquet(f"{folder}/out/{shard.path}", memory_map=False).to_dicts()]
    released = decisions.filter(is_released(config))["doc_id"].to_list()
    assert [row["number"] for row in rows] == released
    assert judge(ledger.ids, ledger.clusters, ledger.scores, decisions, filtered.rows_by_source, config)[0].status == "pass"
    repeated = {
        texts[doc][slice(*_characters(texts[doc], start, end))] for doc, start, end in ledger.spans.select("doc_id", "start", "end").rows()
    }
    had = Counter(span for doc in released for span in re.findall(r"<[^>]*>", texts[doc] or "") if span in repeated)
    left = Counter(span for row in rows for span in re.findall(r"<[^>]*>", _learnt(row)) if span in repeated)
    assert left == dict.fromkeys(had, 1)
    for row in rows:
        before = texts[row["number"]] or ""
        assert policy == "trim" or (row["text"] or "") == before
        assert _outside(_learnt(row), repeated) == _outside(before, repeated)
    asked = decisions.filter(pl.col("evidence").str.contains("span_bytes"))
    told = asked["evidence"].str.json_path_match("$.span_bytes").cast(pl.Int64).sum()
    assert (filtered.spans.rows_masked + filtered.spans.rows_trimmed) == asked.height
    assert filtered.spans.bytes_masked == (told if policy == "mask" else 0)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), config=CONFIGS, policy=st.sampled_from(["mask", "trim"]))
def test_the_order_of_files_decides_nothing_about_spans(kit: Any, data: st.DataObject, config: ReleaseConfig, policy: str) -> None:
    """Law 4 for spans: under other ids the same rows act on the same bytes."""
    docs, alike, max_copies = data.draw(kit.corpora())
    config = config.model_copy(update={"spans": policy})
    by_number = data.draw(st.lists(TEXTS, min_size=8, max_size=8))
    outcomes = []
    for order in (docs, data.draw(st.permutations(docs))):
        texts = [None if doc.text is None else by_number[doc.text] for doc in order]
        ledger = kit.with_texts(kit.ledger(order, alike, max_copies), texts)
        decisions = ledger.decide(config)
        joined = decisions.join(ledger.ids, on="doc_id").select("row_hash", "action", "weight", "reason", "evidence")
        placed = placed_spans(ledger.ids, decisions, ledger.spans, config).join(ledger.ids, on="doc_id")
        outcomes.append((sorted(joined.rows()), sorted(placed.select("row_hash", "start", "end", "is_first").rows())))
    assert outcomes[0] == outcomes[1]


def _characters(text: str, start: int, end: int) -> tuple[int, int]:
    return len(text.encode()[:start].decode()), len(text.encode()[:end].decode())


def _learnt(row: dict[str, Any]) -> str:
    """Return what a trainer learns of a row: its text without the masked spans, which have to be whole characters inside it."""
    data, at, left = (row["text"] or "").encode(), 0, ""
    for span in row.get("sink_mask_spans", []):
        assert at <= span["start"] < span["end"] <= len(data)
        assert data[span["start"] : span["end"]].decode()
        left += data[at : span["start"]].decode()
        at = span["end"]
    return left + data[at:].decode()


def _outside(text: str, repeated: set[str]) -> list[str]:
    for span in repeated:
        text = text.replace(span, " ")
    return text.split()
