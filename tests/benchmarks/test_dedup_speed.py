"""Deduplication side by side with others: one text, one core, CPU seconds, each in a cold process of its own.

`make bench` prints one table. The text is data/samples replicated with seeded edits, or yours:

    BENCH_CORPUS=/path/to/corpus.parquet   anything that `input.paths` takes, text in column `text`
    BENCH_MB=64                            megabytes to grow the samples to; the scaling rows take an eighth, a quarter, a half, all
    PEERS_PYTHON=/path/to/python           interpreter that has the peers; nothing is installed here, a missing peer is said and skipped

Every peer gets the text as our own path normalised it, with word 5-grams, 16 bands of 8 rows and a threshold of 0.8. None of them
verifies by exact comparison; ours does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
JOBS = Path(__file__).with_name("dedup_jobs.py")
SAMPLES = ROOT / "data" / "samples" / "corpus"
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PEERS = ("rensa", "gaoya", "datasketch with xxhash", "datasketch with sha1")

Row = dict[str, Any]


@pytest.mark.benchmark
def test_dedup_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Measure ours by stage, the peers, the C bound and the scaling; fail only if a measurement does."""
    corpus = os.environ.get("BENCH_CORPUS") or grow_samples(tmp_path / "grown.parquet", float(os.environ.get("BENCH_MB", "64")))
    documents = tmp_path / "documents"
    reading = measure(sys.executable, "read", corpus, documents)
    measure(sys.executable, "ours", documents, tmp_path / "work")  # fills the cache of compiled kernels
    ours = measure(sys.executable, "ours", documents, tmp_path / "work")
    rows = [reading, *({**ours, "remark": "", **stage} for stage in ours["stages"]), {**ours, "name": "end to end, verified"}]
    measure(sys.executable, "bound", documents, tmp_path)
    bound = measure(sys.executable, "bound", documents, tmp_path)
    rows += [{**bound, **stage} for stage in bound["stages"]]
    measure(sys.executable, "lines", documents, tmp_path / "lines.txt")
    for peer in PEERS:
        row = measure(os.environ.get("PEERS_PYTHON", sys.executable), "peer", peer, tmp_path / "lines.txt")
        rows.append({**row, "megabytes": reading["megabytes"], "against": ours["seconds"]} if row["seconds"] else row)
    for parts in (1, 2, 4, 8):
        scaled = measure(sys.executable, "ours", documents, tmp_path / "work", parts)
        rows.append({**scaled, "name": f"end to end, {parts}/8 of the text"})
    with capsys.disabled():
        print_table(rows)
    assert all(stage["seconds"] > 0 for stage in ours["stages"])


def measure(python: str, *job: object) -> Row:
    """Run one of the jobs in a process of its own, on one core."""
    core = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, python, str(JOBS), *map(str, job)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def print_table(rows: list[Row]) -> None:
    print(f"\n\n{'who':44} {'CPU s':>8} {'MB/s':>8} {'peak MB':>8}  remark")
    for row in rows:
        if not row["seconds"]:
            print(f"{row['name']:44} {'-':>8} {'-':>8} {'-':>8}  {row['remark']}")
            continue
        remark = f"ours is {row['seconds'] / row['against']:.1f} times as fast" if "against" in row else row.get("remark", "")
        speed = row["megabytes"] / row["seconds"]
        print(f"{row['name']:44} {row['seconds']:8.2f} {speed:8.1f} {row.get('peak', 0):8.0f}  {remark}")


def grow_samples(path: Path, megabytes: float) -> str:
    """Write the samples' texts again and again, each copy with a third of its words changed; one in five is a near-copy of the last."""
    import random

    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(file, columns=["text"]) for file in sorted(SAMPLES.glob("*.parquet"))]
    texts = sorted({text for table in tables for text in table["text"].to_pylist() if text})
    words = sorted({word for text in texts for word in text.split()})
    rng = random.Random(0)

    def edited(text: str, share: float) -> str:
        tokens = text.split(" ")
        for place in rng.sample(range(len(tokens)), max(1, int(len(tokens) * share))):
            tokens[place] = rng.choice(words)
        return " ".join(tokens)

    grown: list[str] = []
    size = 0
    while size < megabytes * 1e6:
        text = edited(grown[-1], 0.005) if grown and rng.random() < 0.2 else edited(rng.choice(texts), 0.3)
        grown.append(text)
        size += len(text)
    pq.write_table(pa.table({"text": grown}), path)
    return str(path)
