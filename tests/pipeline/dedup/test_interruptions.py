"""Interrupted work: what a kill leaves behind at any moment is never trusted, and never shows in what the next run makes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.placed import place
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import compute_signatures
from pipeline.dedup.verification import verify_candidates
from pipeline.tables import Documents

Make = Callable[..., Documents]
Run = Callable[..., Any]
FRAME = pl.DataFrame({"doc_id": range(1000), "value": [i * 7919 % 1009 for i in range(1000)]})

# the process is killed where its n-th file would get its name: the bytes are written, nobody knows them yet
KILLED = """
import os, pathlib, signal, sys
import polars as pl
from pipeline import store
folder, last = sys.argv[1], int(sys.argv[2])
named, name = [], pathlib.Path.replace
def replace(path, target):
    named.append(target)
    if len(named) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return name(path, target)
pathlib.Path.replace = replace
frame = pl.DataFrame({"doc_id": range(1000), "value": [i * 7919 % 1009 for i in range(1000)]})
store.publish("clusters", folder, [store.write_part(folder, name, frame) for name in store.part_names(2)])
"""


def publish_two(folder: Path) -> store.Artifact:
    return store.publish("clusters", str(folder), [store.write_part(str(folder), name, FRAME) for name in store.part_names(2)])


@pytest.mark.parametrize("last", [1, 2, 3], ids=["first part", "second part", "description"])
def test_a_killed_stage_is_not_found_and_runs_again(tmp_path: Path, last: int) -> None:
    """Killed in a part or in its description, the folder does not count, holds no half file under a real name, and is rebuilt alike."""
    folder = tmp_path / "stage"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(last)], cwd=Path.cwd(), check=False)
    assert ended.returncode == -signal.SIGKILL
    whole = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert whole == ["part-00000.parquet", "part-00001.parquet"][: last - 1]
    assert store.find(str(folder)) is None
    again = publish_two(folder)
    assert store.find(str(folder)) == again
    assert again.digest == publish_two(tmp_path / "elsewhere").digest


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("name", ["part-00001.parquet", store.DESCRIPTION])
def test_a_file_cut_short_is_not_trusted(tmp_path: Path, name: str, share: float) -> None:
    """A part or description that lost its end, down to nothing at all, makes the whole stage run again."""
    artifact = publish_two(tmp_path)
    assert store.find(str(tmp_path)) == artifact
    path = tmp_path / name
    os.truncate(path, int(path.stat().st_size * share))
    assert store.find(str(tmp_path)) is None


def test_parts_of_another_run_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    """A description over parts of other rows, and a folder with a part too many, give only what was described."""
    artifact = publish_two(tmp_path)
    store.write_part(str(tmp_path), "part-00002", FRAME)
    assert store.find(str(tmp_path)) == artifact
    assert store.read_frame(artifact).height == 2000
    store.write_part(str(tmp_path), "part-00001", FRAME.reverse())
    assert store.find(str(tmp_path)) is None


def publish_corpus(folder: Path, parts: list[Documents]) -> tuple[store.Artifact, store.Artifact]:
    names = list(store.part_names(len(parts)))
    places = [f"{folder}/{table}" for table in ("documents", "signatures")]
    documents = [store.write_part(places[0], name, part) for name, part in zip(names, parts, strict=True)]
    signed = [compute_signatures(part, DedupConfig())[0] for part in parts]
    signatures = [store.write_part(places[1], name, frame) for name, frame in zip(names, signed, strict=True)]
    return store.publish("documents", places[0], documents), store.publish("signatures", places[1], signatures)


def test_scratch_left_by_a_killed_run_changes_nothing(make_documents: Make, deduplicate: Run, tmp_path: Path) -> None:
    """Stages that find the scratch of an earlier try, other files of it cut short each time, give what they give without."""
    config = DedupConfig(block_bytes=2**12)
    texts = []
    for family in range(3):
        words = [f"w{family}x{i}" for i in range(80)]
        texts += [" ".join([*words[:step], f"edit{step % 5}", *words[step + 1 :]]) for step in range(12)]
    parts = [make_documents(texts[start : start + 9], first_id=start) for start in range(0, 36, 9)]
    documents, signatures = publish_corpus(tmp_path, parts)
    rows = store.read_frame(signatures, ["doc_id", "content_hash", "num_shingles"])
    sizes = rows.select("doc_id", "num_shingles")
    clean = deduplicate(parts, config)
    assert clean.removals.height > 10
    scratch = {name: str(tmp_path / "scratch" / name) for name in ("keys", "sets")}
    for phase in range(4):
        candidates, _ = find_candidates(place(signatures), config, scratch["keys"])
        pairs, _ = verify_candidates(candidates, place(documents), sizes, config, scratch["sets"])
        removals, _ = find_removals(documents, clean.clusters, clean.pairs, sizes, config, scratch["sets"])
        assert candidates.equals(clean.candidates)
        assert pairs.equals(clean.pairs)
        assert removals.equals(clean.removals)
        left = sorted(path for path in (tmp_path / "scratch").rglob("*") if path.is_file())
        assert left
        for path in left[phase::3]:
            os.truncate(path, path.stat().st_size * phase // 3)
