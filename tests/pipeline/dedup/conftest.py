"""Documents for the tests of deduplication, and the whole chain from documents to removals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from blake3 import blake3

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.clusters import cluster_documents
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.placed import place
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import compute_signatures
from pipeline.dedup.verification import verify_candidates
from pipeline.tables import CandidatePairs, Clusters, Documents, DuplicatePairs, Removals, check_documents
from pipeline.text import content_hashes

MakeDocuments = Callable[..., Documents]


def make_documents(
    texts: Sequence[str | None],
    sources: Sequence[str] | None = None,
    first_id: int = 0,
    **user_columns: Sequence[Any],
) -> Documents:
    """Return documents with ids from `first_id` on; rows of equal text, source and columns get equal row hashes."""
    sources = sources or ["s"] * len(texts)
    rows = zip(texts, sources, *user_columns.values(), strict=True)
    columns: dict[str, Any] = {
        "doc_id": pa.array(range(first_id, first_id + len(texts)), pa.int64()),
        "source": pa.array(sources, pa.large_string()),
        "source_id": pa.array([str(row) for row in range(len(texts))], pa.large_string()),
        "content_hash": content_hashes(pa.array(texts, pa.large_string())),
        "row_hash": pa.array([blake3(repr(row).encode()).digest(length=16) for row in rows], pa.binary(16)),
        "text": pa.array(texts, pa.large_string()),
    }
    columns |= {f"user.{name}": pa.array(values) for name, values in user_columns.items()}
    return check_documents(pa.table(columns))


@pytest.fixture(name="make_documents", scope="session")
def make_documents_fixture() -> MakeDocuments:
    """Hand out the maker of documents."""
    return make_documents


@dataclass(frozen=True)
class Deduplicated:
    """Hold every table of one deduplication, and the stages' counts together."""

    documents: store.Artifact
    signatures: pl.DataFrame
    candidates: CandidatePairs
    pairs: DuplicatePairs
    clusters: Clusters
    removals: Removals
    facts: Facts

    def fates(self) -> list[tuple[bytes, bytes, bytes | None, str | None]]:
        """Return (row hash, cluster id, row hash of the kept document, reason) of every document, sorted: what no id may change."""
        rows = pl.DataFrame(pl.from_arrow(pa.concat_tables(store.iter_arrow(self.documents, ["doc_id", "row_hash"]))))
        kept = rows.rename({"doc_id": "kept_doc_id", "row_hash": "kept_row_hash"})
        joined = rows.join(self.clusters, on="doc_id").join(self.removals, on="doc_id", how="left").join(kept, on="kept_doc_id", how="left")
        chosen = joined.select("row_hash", "cluster_id", "kept_row_hash", "reason")
        return sorted(chosen.rows(), key=lambda row: tuple(str(value) for value in row))


def deduplicate(parts: Sequence[Documents], config: DedupConfig, folder: Path) -> Deduplicated:
    """Run all stages over documents in parts, the way the flow does."""
    names = list(store.part_names(len(parts)))
    folders = {name: str(folder / name) for name in ("documents", "signatures", "keys", "sets")}
    written = [store.write_part(folders["documents"], name, part) for name, part in zip(names, parts, strict=True)]
    documents = store.publish("documents", folders["documents"], written)
    computed = [compute_signatures(part, config) for part in parts]
    written = [store.write_part(folders["signatures"], name, frame) for name, (frame, _) in zip(names, computed, strict=True)]
    signatures = store.publish("signatures", folders["signatures"], written)
    rows = store.read_frame(signatures, ["doc_id", "content_hash", "num_shingles"])
    sizes = rows.select("doc_id", "num_shingles")
    candidates, proposed = find_candidates(place(signatures), config, folders["keys"])
    pairs, verified = verify_candidates(candidates, place(documents), sizes, config, folders["sets"])
    clusters, clustered = cluster_documents(rows, pairs)
    removals, removed = find_removals(documents, clusters, pairs, sizes, config, folders["sets"])
    facts = merge_facts([proposed, verified, removed]) | clustered
    return Deduplicated(documents, rows, candidates, pairs, clusters, removals, facts)


@pytest.fixture(name="deduplicate")
def deduplicate_fixture(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Deduplicated]:
    """Hand out the whole chain: give it parts of documents and a configuration."""
    return lambda parts, config: deduplicate(parts, config, tmp_path_factory.mktemp("dedup"))
