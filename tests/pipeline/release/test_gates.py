from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.config import GatesConfig, GuardsConfig, ReleaseConfig
from pipeline.release.gate import Gate, Measure, measured, verdict_of
from pipeline.release.gates import judge


def _judged(kit: Any, docs: list[Any], alike: frozenset[tuple[int, int]] = frozenset(), **given_: Any) -> dict[str, Gate]:
    """Judge a corpus as if every released row had been written, unless `written` says otherwise."""
    config = given_.pop("config", ReleaseConfig())
    ledger = kit.ledger(docs, alike)
    decisions = ledger.decide(config)
    kept = [docs[row["doc_id"]].source for row in decisions.rows(named=True) if row["action"] != "drop"]
    written = given_.pop("written", {source: kept.count(source) for source in kept})
    return {gate.name: gate for gate in judge(ledger.ids, ledger.clusters, ledger.scores, decisions, written, config, **given_)}


def test_a_clean_corpus_passes_and_says_what_nobody_measured(kit: Any) -> None:
    """Measured gates pass; recall, secrets and the predictor's are `not_measured`, which is not a pass."""
    gates = _judged(kit, [kit.Doc(number) for number in range(30)], num_candidates=10, num_skipped=0)
    assert verdict_of(list(gates.values())) == "PASS"
    unmeasured = {name for name, gate in gates.items() if gate.status == "not_measured"}
    assert unmeasured == {"predictor_beats_rival", "calibration", "removal_recall", "secrets_in_kept_rows"}
    assert all(gate.value is None for gate in gates.values() if gate.status == "not_measured")
    assert all("\n" not in gate.meaning for gate in gates.values())


def test_a_row_that_is_lost_or_appears_fails(kit: Any) -> None:
    """One source's missing row is not made good by another's surplus."""
    docs = [kit.Doc(number, "a" if number < 5 else "b") for number in range(10)]
    gates = _judged(kit, docs, written={"a": 4, "b": 6})
    assert (gates["rows_balance"].value, gates["rows_balance"].status) == (2.0, "fail")
    assert _judged(kit, docs, written={"a": 5, "b": 5, "c": 1})["rows_balance"].status == "fail"
    assert verdict_of(list(gates.values())) == "FAIL"


def test_nothing_left_fails(kit: Any) -> None:
    """All rows removed is a failed gate, not an empty dataset."""
    gates = _judged(kit, [kit.Doc(None)] * 3)
    assert gates["filtered_rows"].status == "fail"
    assert gates["rows_balance"].status == "pass"


def test_the_worst_source_is_judged_if_it_has_enough_rows(kit: Any) -> None:
    """A tiny source that is lost whole does not count; a large one at 90% warns with its own interval."""
    tiny = [kit.Doc(0, "tiny")] * 5  # all but one are lost
    large = [kit.Doc(1 + max(0, number - 36), "large") for number in range(40)]
    gates = _judged(kit, tiny + large)
    loss = gates["source_loss"]
    assert (loss.value, loss.status, loss.severity) == (36 / 40, "warn", "warn")
    assert loss.low is not None
    assert loss.high is not None
    assert loss.low < 0.9 < loss.high
    assert _judged(kit, tiny)["source_loss"].status == "not_measured"


def test_a_giant_cluster_warns(kit: Any) -> None:
    """30 of 100 rows in one cluster are over the limit of 20%."""
    gates = _judged(kit, [kit.Doc(0)] * 30 + [kit.Doc(number) for number in range(1, 71)])
    assert (gates["largest_cluster"].value, gates["largest_cluster"].status) == (0.3, "warn")


def test_empty_rows_are_no_giant_cluster(kit: Any) -> None:
    """They share the empty text's hash, which says nothing about templates."""
    docs = [kit.Doc(None)] * 50 + [kit.Doc(number) for number in range(50)]
    ledger = kit.ledger(docs)
    clusters = ledger.clusters.with_columns(cluster_size=pl.when(ledger.ids["is_empty"]).then(50).otherwise("cluster_size").cast(pl.Int64))
    gates = judge(ledger.ids, clusters, ledger.scores, ledger.decide(ReleaseConfig()), {"web": 50}, ReleaseConfig())
    assert next(gate.value for gate in gates if gate.name == "largest_cluster") == 0.01


def test_an_estimate_with_a_missing_number_is_none() -> None:
    """So that a stage's facts can be handed on as they are."""
    assert measured(0.1, 0.0, 0.2, 5) == Measure(0.1, 0.0, 0.2, 5)
    assert measured(0.1, None, 0.2, 5) is None


def test_members_held_by_a_chain_are_counted(kit: Any) -> None:
    """The count agrees with the decisions' evidence, whatever order the walk took through the chains."""
    docs = [kit.Doc(number) for number in range(60)]
    alike = frozenset((number, number + 1) for number in range(59) if number % 6 != 5)
    ledger = kit.ledger(docs, alike)
    decisions = ledger.decide(ReleaseConfig())
    chained = sum('"transitive_only"' in evidence for evidence in decisions["evidence"])
    assert chained > 3
    gates = _judged(kit, docs, alike)
    assert gates["transitive_only"].value == chained / 60
    assert gates["transitive_only"].status == "warn"


def test_skipped_comparisons_are_a_share_of_all_proposed(kit: Any) -> None:
    """None proposed is 0, unknown is not measured, 2% is over the limit."""
    docs = [kit.Doc(0)]
    assert _judged(kit, docs, num_candidates=98, num_skipped=2)["bucket_cap"].value == 0.02
    assert _judged(kit, docs, num_candidates=98, num_skipped=2)["bucket_cap"].status == "warn"
    assert _judged(kit, docs, num_candidates=0, num_skipped=0)["bucket_cap"].status == "pass"
    assert _judged(kit, docs)["bucket_cap"].status == "not_measured"


def test_abstentions_count_among_rows_with_text(kit: Any) -> None:
    """Empty rows are nobody's abstention."""
    docs = [kit.Doc(number, score=(0.0, 0.0, number >= 10)) for number in range(40)] + [kit.Doc(None, score=(0.0, 0.0, False))] * 20
    gates = _judged(kit, docs)
    assert (gates["outside_support"].value, gates["outside_support"].status) == (0.25, "warn")


@pytest.mark.parametrize(
    ("measure", "status"),
    [
        (Measure(0.2, 0.1, 0.3, 200), "pass"),
        (Measure(0.2, -0.1, 0.3, 200), "warn"),
        (Measure(0.2, 0.1, 0.3, 149), "not_measured"),
        (Measure(float("nan"), 0.1, 0.3, 200), "not_measured"),
        (None, "not_measured"),
    ],
)
def test_the_predictor_is_judged_by_its_interval(kit: Any, measure: Measure | None, status: str) -> None:
    """A gain whose interval holds 0 is no gain, and too few labels are no measurement."""
    gate = _judged(kit, [kit.Doc(0)], rival_margin=measure)["predictor_beats_rival"]
    assert (gate.status, gate.limit, gate.min_n) == (status, 0.0, 150)


def test_duplication_alone_never_fails(kit: Any) -> None:
    """A corpus of one text a hundred times warns."""
    assert verdict_of(list(_judged(kit, [kit.Doc(0)] * 100).values())) == "WARN"


@pytest.mark.parametrize(
    ("measure", "status"),
    [
        (None, "not_measured"),
        (Measure(1.0, 0.93, 1.0, 50), "not_measured"),
        (Measure(0.99, 0.96, 1.0, 260), "pass"),
        (Measure(0.97, 0.94, 0.99, 260), "warn"),
    ],
)
def test_recall_on_planted_copies_is_judged_by_its_lower_bound(kit: Any, measure: Measure | None, status: str) -> None:
    """Too few pairs say nothing; a value above the limit whose lower bound is not warns; it never fails."""
    gate = _judged(kit, [kit.Doc(0)], removal_recall=measure)["removal_recall"]
    assert (gate.status, gate.limit, gate.severity) == (status, 0.95, "warn")
    assert gate.value == (None if measure is None or status == "not_measured" else measure.value)


def test_every_gate_has_a_severity_but_the_two_proofs(kit: Any) -> None:
    """Names in the configuration and names that are judged are the same set."""
    gates = _judged(kit, [kit.Doc(0)])
    assert set(gates) == {*GuardsConfig.model_fields, *GatesConfig.model_fields, "rows_balance", "filtered_rows"}


@pytest.mark.parametrize(
    ("severity", "status", "told"), [("off", "not_measured", "off"), ("warn", "warn", "warn"), ("fail", "fail", "error")]
)
def test_a_gate_that_does_not_hold_does_what_its_severity_says(kit: Any, severity: str, status: str, told: str) -> None:
    """Each of the five, exceeded; a gate that is off says where it was switched off and keeps its value."""
    docs = [kit.Doc(number, score=(0.0, 0.0, number >= 10)) for number in range(40)]
    estimate = Measure(-0.2, -0.3, -0.1, 200)
    config = ReleaseConfig(gates=GatesConfig(**dict.fromkeys(GatesConfig.model_fields, severity)))
    gates = _judged(
        kit, docs, config=config, rival_margin=estimate, brier_skill=estimate, removal_recall=Measure(0.5, 0.4, 0.6, 200), kept_secrets=3
    )
    for name in GatesConfig.model_fields:
        assert (gates[name].status, gates[name].severity) == (status, told), name
        assert gates[name].value is not None
        assert (f"release.gates.{name} is off" in gates[name].meaning) == (severity == "off")


def test_a_gate_that_holds_passes_whatever_its_severity(kit: Any) -> None:
    """`fail` does not fail what holds."""
    config = ReleaseConfig(gates=GatesConfig(**dict.fromkeys(GatesConfig.model_fields, "fail")))
    gates = _judged(kit, [kit.Doc(number) for number in range(30)], config=config, kept_secrets=0)
    assert {gates[name].status for name in ("outside_support", "secrets_in_kept_rows")} == {"pass"}
    assert verdict_of(list(gates.values())) == "PASS"


def test_limits_are_settings(kit: Any) -> None:
    """Secrets, the rival's margin, the Brier skill and the planted pairs needed are judged by what the user set."""
    estimate = Measure(0.2, 0.1, 0.3, 200)
    config = ReleaseConfig(max_kept_secrets=3, min_rival_margin=0.15, min_brier_skill=0.05, min_gate_plants=300)
    gates = _judged(
        kit,
        [kit.Doc(0)],
        config=config,
        rival_margin=estimate,
        brier_skill=estimate,
        removal_recall=Measure(1, 0.99, 1, 200),
        kept_secrets=3,
    )
    told = {
        name: (gates[name].status, gates[name].limit, gates[name].min_n) for name in GatesConfig.model_fields if name != "outside_support"
    }
    assert told == {
        "secrets_in_kept_rows": ("pass", 3.0, 0),
        "predictor_beats_rival": ("warn", 0.15, 150),
        "calibration": ("pass", 0.05, 50),
        "removal_recall": ("not_measured", 0.95, 300),
    }
