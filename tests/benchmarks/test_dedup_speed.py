"""Deduplication side by side with others: one text, one core, CPU seconds, each in a cold process of its own.

`make bench` prints one table. Everyone gets the same Parquet files with raw text. Ours goes from there to removals in one process:
it reads, normalises (NFKC, casefold), hashes, writes what it makes to disk, and compares every pair exactly. Peers read the same files
with pyarrow in batches and split words at white space, without any normalisation, and compare by estimate or not at all: they are
asked for less. All: word 5-grams, 16 bands of 8 rows of 128 permutations, threshold 0.8. MB are bytes of raw text; CPU seconds are those
of the whole process, imports included, compiled kernels cached. The result is the number of documents removed; `peers` says how each
counts.

    BENCH_CORPUS=/folder    Parquet or text files to grow the text from; default: the samples
    BENCH_MB=64             megabytes to grow it to; the scaling rows take an eighth, a quarter, a half, all
    BENCH_TEXT=/folder      Parquet files to take as they are, at least eight of about equal size (what `growing` writes)
    BENCH_PEERS=gaoya;...   only these peers, by their names in the table
    PEERS_PYTHON=/path      interpreter that has the peers; nothing is installed here, a missing peer is said and skipped. Peers known to
                            work together: pip install rensa gaoya fastsketchlsh datasketch datatrove tokenizers 'xxhash<4' pyarrow, and
                            pip install --no-deps text-dedup with datasets click-option-group rich regex psutil ftfy

The bound is C without normalisation on text in memory; the floor of the whole is reading with pyarrow plus that bound.
Figures of record come from real documentation, grown to 1 and 5 GB:

    python tests/benchmarks/corpora.py manpages linux boost openjdk rust BASE
    python tests/benchmarks/growing.py BASE GROWN 1000
    BENCH_TEXT=GROWN PEERS_PYTHON=... python -m pytest -m benchmark -s tests/benchmarks/test_dedup_speed.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.benchmarks.growing import grow
from tests.benchmarks.measuring import Row, measure, print_table, row
from tests.benchmarks.peers import PEERS

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "corpus"


@pytest.mark.benchmark
def test_dedup_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Measure ours by stage, its limits, peers, scaling and two workers; fail only if a measurement does or C does other work than ours."""
    peers, corpus = _peers(), _corpus(tmp_path)
    measure("ours", corpus, tmp_path / "ours", 1)  # fills the cache of compiled kernels
    ours = measure("ours", corpus, tmp_path / "ours")
    default = measure("ours", corpus, tmp_path / "ours", 8, 1, "20x6")
    rows = [*_own_rows(ours), row("ours at its default, 20 bands of 6", default, ours["megabytes"], f"{default['removed']} removed")]
    try:
        limits = measure("bound", corpus, tmp_path / "bound")
        rows += _limit_rows(ours, limits)
        rows += _worker_rows(ours, corpus, tmp_path)
        rows += _scaling_rows(corpus, tmp_path)
        before = measure("ours", corpus, tmp_path / "ours")
        for name in peers:
            peer = measure("peer", name, corpus, tmp_path / "peer", python=os.environ.get("PEERS_PYTHON", sys.executable))
            after = measure("ours", corpus, tmp_path / "ours")
            rows.append(_peer_row(name, peer, (before, after)))
            before = after
    finally:
        # a job that fails late must not cost what was measured before
        with capsys.disabled():
            print_table(rows, ours["megabytes"], ours["documents"])
    equal, compared = map(int, limits["agreeing"].split("/"))
    assert 0 < equal == compared, "C and pipeline sign plain documents differently: bring signature_bound.c up to date"
    assert ours["removed"] > 0


def _corpus(folder: Path) -> Path:
    if ready := os.environ.get("BENCH_TEXT"):
        return Path(ready)
    return grow(Path(os.environ.get("BENCH_CORPUS", SAMPLES)), folder / "corpus", float(os.environ.get("BENCH_MB", "64")))


def _own_rows(ours: Row) -> list[Row]:
    whole = row("ours, verified: end to end", ours, ours["megabytes"], f"{ours['removed']} removed")
    stages = [row(f"  {stage['name']}", stage, ours["megabytes"]) for stage in ours["stages"]]
    rest = ours["seconds"] - sum(stage["seconds"] for stage in ours["stages"])
    return [whole, *stages, row("  starting, clearing up, ending", {"seconds": rest}, ours["megabytes"])]


def _limit_rows(ours: Row, limits: Row) -> list[Row]:
    def limit(name: str, seconds: float, remark: str = "") -> Row:
        return row(name, {"seconds": seconds}, limits["megabytes"], remark)

    in_c, reading, memory = limits["c"], limits["reading"], limits["memory"]
    signing, normalised = limits["signing"], limits["signing"] + limits["normalising"]
    floor = reading + in_c
    return [
        limit("signing: C, no normalisation", in_c, f"the bound; as ours on {limits['agreeing']} plain documents"),
        limit("signing: our kernels, text normalised before", signing, f"{in_c / signing:.2f} of the bound"),
        limit(
            "signing: our kernels, normalising too", normalised, f"{in_c / normalised:.2f} of the bound; {normalised - signing:.2f} s more"
        ),
        limit("memory: text out and in, signatures out, copied", memory, f"{limits['moved'] / memory / 1e9:.1f} GB/s read and written"),
        limit("reading: pyarrow, column text", reading),
        limit("floor: reading + C", floor, f"end to end runs at {floor / ours['seconds']:.2f} of it"),
    ]


def _peers() -> list[str]:
    chosen = [name.strip() for name in os.environ.get("BENCH_PEERS", "").split(";") if name.strip()]
    unknown = set(chosen) - set(PEERS)
    assert not unknown, f"BENCH_PEERS names {sorted(unknown)}; known are {list(PEERS)}"
    return chosen or list(PEERS)


def _peer_row(name: str, peer: Row, ours: tuple[Row, Row]) -> Row:
    """Compare a peer with ours right before and right after it: machines that are shared change their speed within minutes."""
    if lacking := peer.get("missing"):
        return row(name, {"seconds": None}, 0, f"skipped: {', '.join(lacking)} is not installed (see PEERS_PYTHON)")
    before, after = (each["seconds"] for each in ours)
    faster = f"ours, before it {before:.1f} s and after it {after:.1f}, {2 * peer['seconds'] / (before + after):.1f} times as fast"
    return row(name, peer, ours[0]["megabytes"], f"{faster}; {peer['remark']}")


def _scaling_rows(corpus: Path, folder: Path) -> list[Row]:
    scaled = [(eighths, measure("ours", corpus, folder / "ours", eighths)) for eighths in (1, 2, 4, 8)]
    first = scaled[0][1]["peak"]
    return [
        row(f"scaling {eighths}x: ours", each, each["megabytes"], f"peak {each['peak'] / first:.2f} of 1x; {each['removed']} removed")
        for eighths, each in scaled
    ]


def _worker_rows(ours: Row, corpus: Path, folder: Path) -> list[Row]:
    if len(os.sched_getaffinity(0)) < 2:
        return [row("two workers on two cores", {"seconds": None}, 0, "skipped: only one core can be had")]
    one, two = (measure("ours", corpus, folder / "ours", 8, workers, cores=workers) for workers in (1, 2))
    times = f"wall {one['wall']:.2f} s alone, {two['wall']:.2f} s together: {one['wall'] / two['wall']:.2f} times as fast"
    return [row("two workers on two cores", two, ours["megabytes"], times)]
