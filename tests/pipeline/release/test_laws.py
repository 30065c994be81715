"""The ledger's laws on random corpora: keys, balance, direct explanations, and ids that decide nothing."""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import is_released
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
