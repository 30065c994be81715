"""Guards: what deduplication alone takes, judged at once and again in the report, to the same numbers."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import GuardsConfig, ReleaseConfig, WaiverConfig
from pipeline.errors import GuardError
from pipeline.release.decisions import is_released
from pipeline.release.gate import Gate, verdict_of
from pipeline.release.gates import judge
from pipeline.release.guards import SETTINGS, judge_guards, stop_if_exceeded
from pipeline.release.waivers import waive

ALL = dict.fromkeys(SETTINGS, "abort")


def _guards(ledger: Any, config: ReleaseConfig, compared: tuple[int, int] = (100, 0)) -> dict[str, Gate]:
    return {gate.name: gate for gate in judge_guards(ledger.ids, ledger.clusters, ledger.removals, ledger.pairs, *compared, config)}


def _stopped(kit: Any, docs: list[Any], alike: frozenset[tuple[int, int]] = frozenset(), **given_: Any) -> str:
    """Return what a run whose every guard may abort is stopped with."""
    compared = given_.pop("compared", (100, 0))
    config = ReleaseConfig(guards=GuardsConfig(**ALL), **given_)
    with pytest.raises(GuardError) as caught:
        stop_if_exceeded(list(_guards(kit.ledger(docs, alike), config, compared).values()), config)
    assert caught.value.exit_code == 1
    return str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), severity=st.sampled_from(["off", "warn", "fail", "abort"]))
def test_guards_and_gates_agree(kit: Any, data: st.DataObject, severity: str) -> None:
    """Under a policy that removes nothing more, all four are the same gates right after deduplication as in the report."""
    docs, alike, max_copies = data.draw(kit.corpora())
    config = ReleaseConfig(
        policy="report",
        min_gate_rows=1,
        max_source_loss=0.3,
        max_loss_of_source={"web": 0.6},
        guards=GuardsConfig(**dict.fromkeys(SETTINGS, severity)),
    )
    ledger = kit.ledger(docs, alike, max_copies)
    decisions = ledger.decide(config)
    released = decisions.filter(is_released(config))["doc_id"].to_list()
    kept = [docs[doc_id].source for doc_id in released]
    written = {source: kept.count(source) for source in kept}
    gates = judge(ledger.ids, ledger.clusters, ledger.scores, decisions, written, config, num_candidates=9, num_skipped=1)
    assert _guards(ledger, config, (9, 1)) == {gate.name: gate for gate in gates if gate.name in SETTINGS}


def test_clean_corpora_are_never_stopped(kit: Any) -> None:
    """Nothing is raised, whatever the guards may do."""
    config = ReleaseConfig(guards=GuardsConfig(**ALL))
    guards = list(_guards(kit.ledger([kit.Doc(number) for number in range(40)]), config).values())
    stop_if_exceeded(guards, config)
    assert verdict_of(guards) == "PASS"


@pytest.mark.parametrize(("severity", "status", "verdict"), [("warn", "warn", "WARN"), ("fail", "fail", "FAIL"), ("abort", "fail", "FAIL")])
def test_severity_says_what_an_exceeded_guard_does(kit: Any, severity: str, status: str, verdict: str) -> None:
    """Only abort stops the run; fail and abort hold the data back in the report."""
    config = ReleaseConfig(guards=GuardsConfig(largest_cluster=severity))
    guards = _guards(kit.ledger([kit.Doc(0)] * 9 + [kit.Doc(number) for number in range(1, 32)]), config)
    assert guards["largest_cluster"].status == status
    assert verdict_of(list(guards.values())) == verdict
    if severity != "abort":
        stop_if_exceeded(list(guards.values()), config)


def test_a_guard_that_is_off_still_shows_its_value(kit: Any) -> None:
    """It is not judged, and says so."""
    config = ReleaseConfig(guards=GuardsConfig(largest_cluster="off"))
    guard = _guards(kit.ledger([kit.Doc(0)] * 30), config)["largest_cluster"]
    assert (guard.status, guard.value) == ("not_measured", 1.0)
    assert guard.meaning.endswith("not judged: release.guards.largest_cluster is off")


def test_the_error_says_what_where_limit_value_and_what_to_do(kit: Any) -> None:
    """A source of copies, cut to a tenth, under a limit of its own and under the general one."""
    docs = [kit.Doc(0, "forum\x1b")] * 30 + [kit.Doc(number, "books") for number in range(1, 200)]
    message = _stopped(kit, docs)
    assert "1 guard(s) stop the run after deduplication: largest share of one source's rows" in message
    assert r"in source_loss of source 'forum\x1b'" in message
    assert "wanted at most 80.00%; got 96.67%" in message
    assert "raise release.max_source_loss or set release.guards.source_loss to warn" in message
    own = _stopped(kit, docs, max_loss_of_source={"forum\x1b": 0.9})
    assert "wanted at most 90.00%; got 96.67%" in own
    assert "raise release.max_loss_of_source or" in own


def test_a_source_may_lose_more_than_others_if_its_own_limit_says_so(kit: Any) -> None:
    """The source furthest above its limit is judged, not the one that lost most; a limit for a source that is not there is told."""
    docs = [kit.Doc(0, "forum")] * 30 + [kit.Doc(-number // 2, "books") for number in range(2, 60)] + [kit.Doc(-99, "books")]
    config = ReleaseConfig(max_source_loss=0.4, max_loss_of_source={"forum": 0.97, "forvm": 0.5})
    loss = _guards(kit.ledger(docs), config)["source_loss"]
    assert (loss.where, loss.limit, loss.status) == ("source 'books'", 0.4, "warn")
    assert loss.meaning.endswith("release.max_loss_of_source names 1 source(s) that the corpus has not")


def test_small_sources_and_small_corpora_are_not_judged(kit: Any) -> None:
    """Nineteen rows of one text stop nothing; twenty do."""
    config = ReleaseConfig(guards=GuardsConfig(**ALL))
    stop_if_exceeded(list(_guards(kit.ledger([kit.Doc(0)] * 19), config).values()), config)
    assert "2 guard(s)" in _stopped(kit, [kit.Doc(0)] * 20)


def test_a_template_that_chains_and_a_bucket_that_was_capped_stop_the_run(kit: Any) -> None:
    """All four may abort, and one error names all that are exceeded, the cluster by its id."""
    chain = frozenset((number, number + 1) for number in range(59) if number % 30 != 29)
    docs = [kit.Doc(number) for number in range(60)]
    message = _stopped(kit, docs, chain, compared=(97, 3), max_transitive_share=0.01)
    cluster = min(kit.ledger(docs, chain).clusters["cluster_id"]).hex()
    assert "3 guard(s) stop the run" in message
    assert f"in largest_cluster of cluster {cluster}, transitive_only, bucket_cap" in message
    assert "got 50.00%," in message
    assert "release.max_cluster_share, release.max_transitive_share, release.max_skipped_share" in message


def test_a_waived_guard_stops_nothing_until_its_day_is_past(kit: Any) -> None:
    """The same corpus is stopped on the day after."""
    config = ReleaseConfig(guards=GuardsConfig(**ALL), max_cluster_share=0.1, max_source_loss=1.0)
    guards = list(_guards(kit.ledger([kit.Doc(0)] * 30 + [kit.Doc(number) for number in range(1, 71)]), config).values())
    waiver = WaiverConfig(gate="largest_cluster", until=date(2027, 1, 31), approver="R. Roe", reason="templates")
    stop_if_exceeded(waive(guards, [waiver], date(2027, 1, 31)), config)
    with pytest.raises(GuardError, match="largest_cluster"):
        stop_if_exceeded(waive(guards, [waiver], date(2027, 2, 1)), config)
