"""Kill an audit with SIGKILL at every boundary of its stages, before many of its writes and at random moments; hold the bytes against
those of an undisturbed one. End it with TERM at random moments; look for processes that stay.

`python -m pytest -m acceptance -s tests/acceptance/test_kills.py` takes about half an hour on two cores; figures are printed.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.config import AuditConfig
from tests.flows.interrupting import differing, end, servers, start, terminate
from tests.flows.killed_at import CALLS
from tests.flows.small_corpus import config, rows, write

pytestmark = pytest.mark.acceptance

RANDOM_KILLS, RANDOM_TERMS, WRITES = 24, 8, (0, 3, 7, 12, 20, 33, 54, 70)
SEED = 20261129


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for all runs: servers left behind by the killed would keep it busy."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    every = rows()
    return write(tmp_path_factory.mktemp("kills") / "corpus", [every[:250], every[250:]])


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, float, list[str]]:
    """Run once in peace; return the settings, the seconds it took and the stages in their order."""
    whole = config(tmp_path_factory.mktemp("whole"), corpus)
    end(whole, start(whole, "run", "never", home))  # compiles, and creates the database
    again = config(tmp_path_factory.mktemp("timed"), corpus)
    began = time.monotonic()
    assert end(again, start(again, "run", "never", home))[0] == 0
    seconds = time.monotonic() - began
    assert differing(whole, again) == []
    (log,) = Path(whole.runtime.reports).glob("*/log.jsonl")
    told = [json.loads(line) for line in log.read_text().splitlines()]
    return whole, seconds, [line["stage"] for line in told if line["event"] == "stage"]


def _kill_at(cut: AuditConfig, moments: list[str], home: Path) -> Counter[int]:
    """Run with each moment in turn over the same ledger, then to the end; return how often each exit code came."""
    codes: Counter[int] = Counter()
    for moment in moments:
        code, said = end(cut, start(cut, "run", moment, home))
        assert code in (0, -9), (moment, said)
        codes[code] += 1
        print(f"{moment} ({code})", end=" ", flush=True)
        assert len(servers(home)) <= 1, "orphans of earlier kills pile up"
    assert end(cut, start(cut, "run", "never", home))[0] == 0
    assert servers(home) == []
    return codes


def test_kills_at_every_boundary(undisturbed: tuple[AuditConfig, float, list[str]], corpus: Path, home: Path, tmp_path: Path) -> None:
    """Before and after every stage, and around every step between stages, one after the other over one ledger."""
    whole, _, stages = undisturbed
    moments = [f"stage:{number}:{side}" for number in range(len(stages)) for side in ("before", "after")]
    moments += [f"call:{name}:{side}" for name in CALLS for side in ("before", "after")]
    cut = config(tmp_path, corpus)
    codes = _kill_at(cut, moments, home)
    print(f"\nboundaries: {codes[-9]} kills at {len(stages)} stages and {len(CALLS)} steps; runs that were done already: {codes[0]}")
    assert codes[-9] >= 2 * len(stages)
    assert differing(whole, cut) == []


@pytest.mark.parametrize("number", WRITES)
def test_kills_before_a_file_appears(
    number: int, undisturbed: tuple[AuditConfig, float, list[str]], corpus: Path, home: Path, tmp_path: Path
) -> None:
    """The n-th file of an empty ledger, then the n-th of what is left, then to the end."""
    cut = config(tmp_path, corpus)
    codes = _kill_at(cut, [f"write:{number}", f"write:{number}"], home)
    print(f"\nwrite {number}: {codes[-9]} kills")
    assert codes[-9] >= 1
    assert differing(undisturbed[0], cut) == []


def test_kills_at_random_moments(undisturbed: tuple[AuditConfig, float, list[str]], corpus: Path, home: Path, tmp_path: Path) -> None:
    """Uniform over the length of an undisturbed run; a new ledger whenever a run came to its end."""
    whole, seconds, _ = undisturbed
    drawn = random.Random(SEED)
    kills = finished = 0
    cut = config(tmp_path / "0", corpus)
    while kills < RANDOM_KILLS:
        process = start(cut, "run", "never", home)
        try:
            process.wait(drawn.uniform(0.0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            print(kills, end=" ", flush=True)
            continue
        assert process.returncode == 0, end(cut, process)[1]
        assert differing(whole, cut) == []
        finished += 1
        cut = config(tmp_path / str(finished), corpus)
    assert end(cut, start(cut, "run", "never", home))[0] == 0
    print(f"\nrandom: {kills} kills within {seconds:.0f} s, {finished + 1} audits came to their end")
    assert differing(whole, cut) == []
    assert servers(home) == []


def test_terms_at_random_moments(undisturbed: tuple[AuditConfig, float, list[str]], corpus: Path, home: Path, tmp_path: Path) -> None:
    """Each leaves with 130, and no server or worker of its own stays; then the same bytes."""
    whole, seconds, _ = undisturbed
    drawn = random.Random(SEED)
    cut, slowest, terms, clean = config(tmp_path, corpus), 0.0, 0, 0
    while terms < RANDOM_TERMS:
        process = start(cut, "run", "never", home)
        try:
            process.wait(drawn.uniform(2.0, max(4.0, seconds)))
            cut = config(tmp_path / str(terms), corpus)
            continue
        except subprocess.TimeoutExpired:
            began = time.monotonic()
            code, said, left = terminate(cut, process)
            slowest = max(slowest, time.monotonic() - began)
        # before its command begins a process has nothing to leave, and ends as any other does
        assert (code, left) in ((130, []), (-15, [])), said
        assert servers(home) == []
        terms += 1
        clean += code == 130
    assert end(cut, start(cut, "run", "never", home))[0] == 0
    print(f"\nTERM: {terms} times, {clean} after the command had begun; the slowest left after {slowest:.1f} s")
    assert clean >= RANDOM_TERMS // 2
    assert differing(whole, cut) == []
