"""Our own path from Parquet to removals, through the pipeline's public functions: the one file of the benchmark that knows them."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.config import DedupConfig
    from pipeline.store import Artifact

Row = dict[str, Any]


def ours(corpus: str, work: str, eighths: str = "8", workers: str = "1", bands: str = "16x8") -> Row:
    """Deduplicate the first eighths of a corpus's files, verification on; stages are CPU seconds of this process."""
    start = time.process_time()
    from pipeline.lean import start_lean

    start_lean()
    from pipeline import store
    from pipeline.config import DedupConfig
    from pipeline.dedup.candidates import find_candidates
    from pipeline.dedup.clusters import cluster_documents
    from pipeline.dedup.placed import place
    from pipeline.dedup.removals import find_removals
    from pipeline.dedup.verification import verify_candidates
    from pipeline.heap import give_back
    from pipeline.parallel import in_threads

    stages: list[Row] = [{"name": "importing", "seconds": time.process_time() - start}]

    def lap(name: str) -> None:
        give_back()  # as flows do between stages
        known = sum(stage["seconds"] for stage in stages)
        stages.append({"name": name, "seconds": time.process_time() - start - known})

    shutil.rmtree(work, ignore_errors=True)
    num_bands, rows_per_band = map(int, bands.split("x"))
    config = DedupConfig(num_bands=num_bands, rows_per_band=rows_per_band)
    keys, sets, threads = f"{work}/keys", f"{work}/sets", int(workers)
    documents, signed = read(corpus, work, config, int(eighths), threads)
    lap("reading, normalising, hashing, signing")
    candidates, facts = find_candidates(place(signed), config, keys, in_threads(threads))
    store.publish_frame("candidate_pairs", f"{work}/candidates", candidates, facts)
    lap("candidates")
    known = store.read_frame(signed, ["doc_id", "content_hash", "num_bytes", "num_shingles"])
    pairs, facts = verify_candidates(candidates, place(documents), known, config, sets, in_threads(threads))
    store.publish_frame("duplicate_pairs", f"{work}/pairs", pairs, facts)
    lap("verification")
    clusters, facts = cluster_documents(known, pairs)
    store.publish_frame("clusters", f"{work}/clusters", clusters, facts)
    lap("clusters")
    removals, facts = find_removals(documents, clusters, pairs, known, config, sets, mapper=in_threads(threads))
    store.publish_frame("removals", f"{work}/removals", removals, facts)
    lap("removals")
    shutil.rmtree(work)
    return {"megabytes": documents.facts["bytes"] / 1e6, "documents": documents.num_rows, "removed": removals.height, "stages": stages}


def read(corpus: str, work: str, config: DedupConfig, eighths: int = 8, workers: int = 1) -> tuple[Artifact, Artifact]:
    """Read the first eighths of a corpus's files into `documents` and, in the same pass, their `signatures`."""
    from pipeline import store
    from pipeline.config import InputConfig
    from pipeline.corpus.documents import read_corpus
    from pipeline.dedup.signatures import join_signatures, sign_texts

    pieces: dict[str, Artifact] = {}

    def keep(name: str, names: Any, signed: Any) -> None:
        signatures, facts = join_signatures(names, signed)
        pieces[name] = store.publish_frame("signatures", f"{work}/signatures/{name}", signatures, facts)

    files = sorted(str(path) for path in Path(corpus).rglob("*.parquet"))
    chosen = InputConfig(paths=tuple(files[: max(1, len(files) * eighths // 8)]), text_column="text")
    sign = partial(sign_texts, config=config)
    documents = read_corpus(chosen, f"{work}/documents", sign, keep, workers=workers)
    return documents, store.gather("signatures", f"{work}/signatures", [pieces[name] for name in sorted(pieces)])


def sign_in_memory(texts: Any, config: DedupConfig) -> tuple[float, float, npt.NDArray[np.uint32]]:
    """Return CPU seconds of normalising texts and of signing what that leaves, and the signatures (documents, num_perm)."""
    import numpy as np

    from pipeline.dedup.signatures import sign_texts
    from pipeline.text import padded_buffers

    start = time.process_time()
    data, offsets = padded_buffers(texts)
    normalised = time.process_time()
    signed = sign_texts(data, offsets, config)
    end = time.process_time()
    signatures = np.frombuffer(signed["signature"].chunk(0).buffers()[1], np.uint32).reshape(-1, config.num_perm)
    return normalised - start, end - normalised, signatures


def permutations(config: DedupConfig) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Return the multipliers and offsets that signatures use."""
    from pipeline.dedup import signatures

    return signatures.permutations(config)
