"""Why a row went: evidence recomputed by plain sets, and the same survivors for any number of threads."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import store
from pipeline.config import DedupConfig, KeepRule
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.facts import merge_facts
from pipeline.dedup.placed import place
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import compute_signatures
from pipeline.dedup.verification import verify_candidates
from pipeline.parallel import in_threads
from pipeline.tables import Documents

Make = Callable[..., Documents]
Run = Callable[..., Any]

# letters, letters a word, what stands between words, whether shingles are of characters
SCRIPTS = {
    "latin": ("abcdefghijklmnopqrstuvwxyzß", 6, " ", False),
    "chinese": ("".join(map(chr, range(0x4E00, 0x5600))), 1, "", True),
    "japanese": ("".join(map(chr, (*range(0x3042, 0x3094), *range(0x6000, 0x6100)))), 1, "", True),
    "thai": ("กขคงจฉชซญดตถทธนบปผพฟมยรลวศสหอะาิีุู่้", 1, "", True),
    "khmer": ("".join(map(chr, range(0x1780, 0x17A3))), 1, "", True),
    "arabic": ("ابتثجحخدذرزسشصضطظعغفقكلمنهويًٌَُ", 5, " ", False),
    "hebrew": ("אבגדהוזחטיכלמנסעפצקרשתםןץ", 5, " ", False),
    "korean": ("".join(map(chr, range(0xAC00, 0xB000))), 2, " ", False),
    "emoji": ("".join(map(chr, range(0x1F300, 0x1F3F0))) + "\u200d", 2, " ", False),
}


def folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shingles(text: str, *, are_characters: bool) -> list[tuple[str, ...]]:
    units = list(folded(text).replace(" ", "")) if are_characters else folded(text).split()
    return [tuple(units[i : i + 5]) for i in range(max(1, len(units) - 4))] if units else []


def many_scripts(seed: int) -> tuple[list[str], list[bool]]:
    """Return families of edited versions and exact copies in every script, and whether each is cut into characters."""
    rng = random.Random(seed)
    texts: list[str] = []
    for letters, length, blank, _ in SCRIPTS.values():
        for _ in range(3):
            units = ["".join(rng.choices(letters, k=length)) for _ in range(rng.randint(90, 160))]
            for num_edits in (0, 0, 1, 3, 6, 12, 30):
                copy = list(units)
                for spot in rng.sample(range(len(copy)), num_edits):
                    copy[spot] = "".join(rng.choices(letters, k=length))
                texts.append(blank.join(copy))
    cut = [script[3] for script in SCRIPTS.values() for _ in range(21)]
    return [*texts, "Kurz", "ＫＵＲＺ", "kurz gesagt", "", "\u3000"], [*cut, *[False] * 5]


@pytest.mark.parametrize("max_copies", [1, 2])
@pytest.mark.parametrize("keep", [("longest",), ("shortest",), ("quality",)])
def test_every_removal_names_a_kept_document_with_true_evidence(
    make_documents: Make, deduplicate: Run, max_copies: int, keep: tuple[KeepRule, ...]
) -> None:
    """In nine scripts, each removed row's kept row stays, and Jaccard and both containments are those of plain sets."""
    texts, are_cut = many_scripts(4)
    column = "grade" if keep == ("quality",) else None
    config = DedupConfig(max_copies=max_copies, keep=keep, quality_column=column)
    result = deduplicate([make_documents(texts, grade=[place * 7 % 11 for place in range(len(texts))])], config)
    lists = [shingles(text, are_characters=is_cut) for text, is_cut in zip(texts, are_cut, strict=True)]
    assert result.signatures.sort("doc_id")["num_shingles"].to_list() == list(map(len, lists))
    sets = list(map(set, lists))
    removed = set(result.removals["doc_id"])
    for doc_id, kept, reason, jaccard, removed_share, kept_share in result.removals.rows():
        assert kept not in removed
        assert (reason == "exact_duplicate") == (folded(texts[doc_id]) == folded(texts[kept]))
        one, other = sets[doc_id], sets[kept]
        if reason == "near_duplicate":
            shared = len(one & other)
            assert (jaccard, removed_share, kept_share) == (shared / len(one | other), shared / len(one), shared / len(other))
            assert jaccard >= config.threshold
        else:
            assert (jaccard, removed_share, kept_share) == (1.0, 1.0, 1.0)
    assert (result.removals["reason"] == "near_duplicate").sum() > 5
    if max_copies == 1:
        assert (result.removals["reason"] == "exact_duplicate").sum() > 10
        assert {doc_id // 21 for doc_id in removed} >= set(range(len(SCRIPTS)))


def test_threads_that_sign_parts_together_change_nothing(make_documents: Make) -> None:
    """Parts signed by four threads at once, in any order, are those signed one after another."""
    texts, _ = many_scripts(6)
    parts = [make_documents(texts[start : start + 9], first_id=start) for start in range(0, len(texts), 9)] * 4
    alone = [compute_signatures(part, DedupConfig()) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda part: compute_signatures(part, DedupConfig()), parts))
    for (one, facts), (other, other_facts) in zip(alone, together, strict=True):
        assert one.equals(other)
        assert facts == other_facts


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_that_share_a_stage_change_nothing(make_documents: Make, deduplicate: Run, tmp_path: Path, workers: int) -> None:
    """Candidates, pairs, removals and counts of several workers, in many blocks and partitions, are those of one."""
    texts, _ = many_scripts(6)
    config = DedupConfig(block_bytes=2**13, num_partitions=7)
    parts = [make_documents(texts[start : start + 17], first_id=start) for start in range(0, len(texts), 17)]
    alone = deduplicate(parts, config)
    folder = str(tmp_path / "signatures")
    frames = zip(store.part_names(len(parts)), parts, strict=True)
    signatures = store.publish(
        "signatures", folder, [store.write_part(folder, name, compute_signatures(part, config)[0]) for name, part in frames]
    )
    sizes = alone.signatures.select("doc_id", "num_shingles")
    candidates, proposed = find_candidates(place(signatures), config, str(tmp_path / "keys"), mapper=in_threads(workers))
    pairs, verified = verify_candidates(
        candidates, place(alone.documents), sizes, config, str(tmp_path / "sets"), mapper=in_threads(workers)
    )
    removals, removed = find_removals(
        alone.documents, alone.clusters, pairs, sizes, config, str(tmp_path / "sets"), mapper=in_threads(workers)
    )
    assert candidates.equals(alone.candidates)
    assert pairs.equals(alone.pairs)
    assert removals.equals(alone.removals)
    assert merge_facts([proposed, verified, removed]).items() <= alone.facts.items()


# the same chain in a process of its own, whose libraries have as many threads as they were told
ALONE = """
import hashlib, importlib.util, pathlib, random, sys
spec = importlib.util.spec_from_file_location("chain", sys.argv[1])
chain = importlib.util.module_from_spec(spec)
sys.modules["chain"] = chain
spec.loader.exec_module(chain)
from pipeline.config import DedupConfig
rng, texts = random.Random(8), []
for family in range(500):
    words = [f"w{family}x{rng.randrange(99)}" for _ in range(60)]
    for version in range(6):
        words[rng.randrange(60)] = f"e{version}"
        texts.append(" ".join(words))
parts = [chain.make_documents(texts[start : start + 500], first_id=start) for start in range(0, 3000, 500)]
result = chain.deduplicate(parts, DedupConfig(), pathlib.Path(sys.argv[2]))
tables = [result.candidates, result.pairs, result.clusters, result.removals]
assert tables[3].height > 1000
print([hashlib.sha256(table.write_csv().encode() if "cluster_id" not in table.columns else repr(table.rows()).encode()).hexdigest()
       for table in tables], sorted(result.facts.items()))
"""


def test_survivors_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    """One thread and five in every library give the same candidates, pairs, clusters, removals and counts."""
    told = []
    for threads in ("1", "5"):
        names = ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
        command = [sys.executable, "-c", ALONE, str(Path(__file__).with_name("conftest.py")), str(tmp_path / threads)]
        ran = subprocess.run(command, env={**os.environ, **dict.fromkeys(names, threads)}, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        told.append(ran.stdout)
    assert told[0] == told[1]


def test_a_chain_of_reasons_never_replaces_a_direct_one(make_documents: Make, deduplicate: Run) -> None:
    """Of a family whose versions drift apart, each removed version is near its kept one, and who stays is near no one kept before."""
    words = [f"w{i}" for i in range(120)]
    texts = []
    for step in range(30):
        words[(step * 41) % 120] = f"drift{step}"
        texts.append(" ".join([*words, *["tail"] * (30 - step)]))
    result = deduplicate([make_documents(texts)], DedupConfig())
    sets = [set(shingles(text, are_characters=False)) for text in texts]
    order = sorted(range(30), key=lambda row: -len(texts[row].encode()))
    kept: list[int] = []
    for row in order:
        near = [other for other in kept if len(sets[row] & sets[other]) >= 0.8 * len(sets[row] | sets[other])]
        assert bool(near) == (row in result.removals["doc_id"])
        assert not near or result.removals.filter(pl.col("doc_id") == row)["kept_doc_id"][0] in near
        kept += [] if near else [row]
    assert len(kept) > 3
