"""Failures seen in other tools, at the size at which they were seen: templates, giant buckets, long documents, regrouped pairs."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import DedupConfig
from pipeline.dedup.clusters import cluster_documents
from pipeline.tables import DUPLICATE_PAIRS, Documents

Make = Callable[..., Documents]
Run = Callable[..., Any]


def largest_group(size: int, pairs: Iterable[tuple[int, int]]) -> int:
    """Return the size of the largest connected component, by growing it from each place in turn."""
    neighbours: list[list[int]] = [[] for _ in range(size)]
    for a, b in pairs:
        neighbours[a].append(b)
        neighbours[b].append(a)
    seen, largest = [False] * size, 0
    for start in range(size):
        waiting, found = [start], 0
        while waiting:
            place = waiting.pop()
            if not seen[place]:
                seen[place] = True
                found += 1
                waiting += neighbours[place]
        largest = max(largest, found)
    return largest


def candidate_rows(result: Any) -> list[tuple[int, int]]:
    return list(result.candidates.select("doc_id_a", "doc_id_b").rows())


def test_ten_thousand_documents_of_one_template_do_not_collapse(make_documents: Make, deduplicate: Run) -> None:
    """Nine tenths in common, other facts in each: unverified they are one cluster, verified each stays but the true copies."""
    rng = random.Random(17)
    template = [f"template{i}" for i in range(135)]
    facts = [[f"fact{rng.randrange(10**9)}" for _ in range(15)] for _ in range(9_990)]
    # one fact in fifteen changed: Jaccard 0.93
    facts += [[*facts[row][:14], f"other{row}"] for row in range(10)]
    texts = [" ".join([*template[:70], *own, *template[70:]]) for own in facts]
    result = deduplicate([make_documents(texts)], DedupConfig())
    assert largest_group(len(texts), candidate_rows(result)) > 9_000
    assert result.facts["largest_cluster"] == 2
    copies = {(row, 9_990 + row) for row in range(10)}
    found = {tuple(sorted(pair)) for pair in result.removals.select("doc_id", "kept_doc_id").rows()}
    assert found <= copies
    assert len(found) > 5


def test_a_giant_bucket_of_copies_stays_linear(make_documents: Make, deduplicate: Run) -> None:
    """Ten thousand copies, each with a last word of its own, share every bucket: one stays, for about a pair a document."""
    words = " ".join(f"w{i}" for i in range(200))
    size = 10_000
    result = deduplicate([make_documents([f"{words} own{row}" for row in range(size)])], DedupConfig())
    assert result.facts["largest_bucket"] > 0.9 * size
    assert result.facts["largest_cluster"] == size
    assert result.removals.height == size - 1
    assert result.candidates.height < 2 * size
    assert result.facts["num_walk_comparisons"] < 2 * size
    assert result.removals["kept_doc_id"].n_unique() == 1


def test_long_chains_and_stars_are_one_cluster() -> None:
    """A chain of 200,000 documents and a star of as many, their pairs in any order, join without recursion or quadratic work."""
    size = 200_000
    rng = np.random.default_rng(5)
    names = rng.permutation(2 * size)
    chain, star = names[:size], names[size:]
    first, second = np.concatenate([chain[:-1], np.full(size - 1, star[0])]), np.concatenate([chain[1:], star[1:]])
    ends = np.sort(np.stack([first, second]), axis=0)[:, rng.permutation(2 * size - 2)]
    ones = np.ones(ends.shape[1])
    pairs = pl.DataFrame({"doc_id_a": ends[0], "doc_id_b": ends[1], "jaccard": ones, "containment_a": ones, "containment_b": ones})
    hashes = pl.Series([int(value).to_bytes(16, "big") for value in rng.permutation(2 * size)], dtype=pl.Binary)
    clusters, facts = cluster_documents(pl.DataFrame({"doc_id": range(2 * size), "content_hash": hashes}), DUPLICATE_PAIRS.check(pairs))
    assert (facts["num_clusters"], facts["largest_cluster"]) == (2, size)
    assert all(set(clusters["cluster_id"].gather(names)) == {min(hashes.gather(names))} for names in (chain, star))


def test_very_long_documents_are_compared_whole(make_documents: Make, deduplicate: Run) -> None:
    """Documents of 131,072 shingles and of five megabytes, each beside an edited copy, in blocks smaller than one of them."""
    pairs = []
    for name, num_words, num_edits in (("a", 131_076, 2_000), ("something", 380_000, 1_000)):
        words = [f"{name}{i}" for i in range(num_words)]
        edited = list(words)
        for place in range(50, 50 + num_edits * 10, 10):
            edited[place] = f"edit{place}"
        num_shingles, lost = num_words - 4, 5 * num_edits
        pairs.append((" ".join(words), " ".join(edited), (num_shingles - lost) / (num_shingles + lost)))
    texts = [text for one, other, _ in pairs for text in (one, other)]
    assert len(texts[2]) > 5_000_000
    result = deduplicate([make_documents([*texts, "short"])], DedupConfig(block_bytes=2**16))
    assert result.signatures["num_shingles"].to_list() == [131_072, 131_072, 379_996, 379_996, 1]
    assert result.pairs.select("doc_id_a", "doc_id_b", "jaccard").rows() == [(0, 1, pairs[0][2]), (2, 3, pairs[1][2])]
    assert result.removals.height == 2


# most memory that proposing took, less what it took for a tenth of the documents
GROWTH = """
import sys
import numpy as np
import pyarrow as pa
from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.placed import place
from pipeline.dedup.signatures import compute_signatures
from pipeline.tables import check_documents
from pipeline.text import content_hashes
def signatures(folder, num_parts, size):
    rng, parts = np.random.default_rng(3), []
    for part, name in enumerate(store.part_names(num_parts)):
        texts = pa.array([rng.bytes(24).hex(" ", 4) for _ in range(size)], pa.large_string())
        hashes, names = content_hashes(texts), pa.array(["s"] * size, pa.large_string())
        columns = [pa.array(range(part * size, (part + 1) * size), pa.int64()), names, names, hashes, hashes, texts]
        documents = pa.table(columns, ["doc_id", "source", "source_id", "content_hash", "row_hash", "text"])
        parts.append(store.write_part(folder, name, compute_signatures(check_documents(documents), DedupConfig())[0]))
    return store.publish("signatures", folder, parts)
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
folder, size = sys.argv[1], int(sys.argv[2])
few, many = signatures(f"{folder}/few", 1, size), signatures(f"{folder}/many", 10, size)
find_candidates(place(few), DedupConfig(), f"{folder}/scratch-few")
before = peak()
find_candidates(place(many), DedupConfig(), f"{folder}/scratch-many")
print(peak() - before)
"""


def test_candidates_need_no_index_in_memory(tmp_path: Path) -> None:
    """Ten times the documents take less than a tenth of the 8.6 kB each that an index of Python dicts does."""
    size = 10_000
    ran = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path), str(size)], capture_output=True, text=True, check=True)
    assert int(ran.stdout) / (9 * size) < 860


def test_a_verified_pair_is_not_joined_to_another_by_an_unverified_one(make_documents: Make, deduplicate: Run) -> None:
    """Two true pairs whose four members all share bands stay two clusters: one of each goes, not three of four."""
    rng = random.Random(2)
    texts = []
    for family in range(30):
        words = [f"w{family}x{i}" for i in range(100)]
        # a run of eleven other words: Jaccard 0.73
        other = [*words[:40], *(f"v{family}x{i}" for i in range(11)), *words[51:]]
        for version in (words, other):
            copy = list(version)
            copy[rng.choice([5, 15, 80, 95])] = f"edit{family}"
            texts += [" ".join(version), " ".join(copy)]
    result = deduplicate([make_documents(texts)], DedupConfig())
    across = {a // 4 for a, b in candidate_rows(result) if a // 4 == b // 4 and a // 2 != b // 2}
    assert len(across) > 15
    ids = result.clusters.sort("doc_id")["cluster_id"].to_list()
    assert all(ids[row] == ids[row + 1] for row in range(0, 120, 2))
    assert len(set(ids)) == 60
    assert sorted(doc_id // 2 for doc_id in result.removals["doc_id"]) == list(range(60))
    assert all(doc_id // 2 == kept // 2 for doc_id, kept in result.removals.select("doc_id", "kept_doc_id").rows())
