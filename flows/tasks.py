"""One Prefect task per stage, a few lines each: find the result in the ledger, or call the stage and store what it returns.

Prefect's own caching is off: its keys see neither the code that a task calls nor whether a cached file still exists. Tasks take and
return artifacts, never frames; what they share beyond that comes from the current run.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
import polars as pl

from flows.discreet import task
from flows.ledger import once
from flows.processes import call, call_timed
from flows.run import current
from flows.work import reading_work, work_of
from pipeline import store
from pipeline.config import AuditConfig, DedupConfig, InputConfig, ProxyConfig, ReleaseConfig, ReportConfig
from pipeline.corpus.documents import read_corpus
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.clusters import cluster_documents, count_clusters
from pipeline.dedup.compatibility import signature_settings
from pipeline.dedup.placed import Placed, place
from pipeline.dedup.plants import SAMPLE_COLUMNS, choose_sample, plant_copies
from pipeline.dedup.quality import measure_quality
from pipeline.dedup.references import Reference, choose_references, with_references, without_references
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import compute_signatures, join_signatures, sign_texts
from pipeline.dedup.span_anchors import anchor_texts
from pipeline.dedup.spans import find_spans, keep_anchors
from pipeline.dedup.sweep import sweep_thresholds
from pipeline.dedup.verification import verify_candidates
from pipeline.parallel import Mapper
from pipeline.proxy.samples import choose_clusters, draw_samples
from pipeline.proxy.splits import ProxySpec, plan_proxies, split_clusters
from pipeline.proxy.texts import choose_tokenizer_documents
from pipeline.proxy.tokenizer import load_tokenizer, parse_tokenizer, serialise_tokenizer, train_tokenizer
from pipeline.release.decisions import decide, placed_spans
from pipeline.release.filtering import FilteredData, filter_documents
from pipeline.release.high_risk import choose_high_risk
from pipeline.release.manifest import clear_staging
from pipeline.release.overruling import in_force, record
from pipeline.risk.languages import guess_languages
from pipeline.risk.scoring import score_documents
from pipeline.risk.sensitive import count_patterns
from pipeline.rows import name_documents, profile_names, read_texts
from pipeline.store import Artifact
from pipeline.tables import (
    CANDIDATE_PAIRS,
    CLUSTERS,
    DECISIONS,
    DOCUMENT_SIGNALS,
    DUPLICATE_PAIRS,
    EXTRACTIONS,
    LANGUAGES,
    PROFILES,
    PROXIES,
    PROXY_SIGNALS,
    PROXY_SPLITS,
    REFERENCE_DOCUMENTS,
    REMOVALS,
    REPEATED_SPANS,
    SAMPLES,
    SINK_GAPS,
    SINK_SCORES,
    Signatures,
    check_documents,
)
from pipeline.text import Bytes, Offsets

TEXTS = {"doc_id": pl.Int64, "text": pl.String}
TOKENIZER = "tokenizer.json"
Piece: TypeAlias = tuple[int, str]
"""The number of a part of the documents, and the folder of what is made from it."""


@dataclass(frozen=True)
class Made:
    """Name the folders of what is made of documents while they are read."""

    profiles: str
    signatures: str
    anchors: str


@task(name="read documents")
def read_documents(
    config: InputConfig, dedup: DedupConfig, folder: str, made: Made, workers: int, mapper: Mapper | None
) -> tuple[Artifact, bool]:
    """Read the corpus into documents and, while their texts are in memory, profile and sign them and find what spans are looked for by."""
    scan, keep = partial(_scan, config=dedup), partial(_keep, made=made, config=dedup)
    return once(folder, lambda out: read_corpus(config, out, scan, keep, workers=workers, mapper=mapper))


def _scan(data: Bytes, offsets: Offsets, config: DedupConfig) -> Any:
    signed = sign_texts(data, offsets, config)
    if config.find_spans:
        anchored = anchor_texts(data, offsets, config)
        for name in anchored.column_names:
            signed = signed.append_column(name, anchored[name])
    return signed


def _keep(name: str, names: Any, signed: Any, made: Made, config: DedupConfig) -> None:
    _store_profiles(f"{made.profiles}/{name}", names)
    _store_signatures(f"{made.signatures}/{name}", *join_signatures(names, signed), config)
    if config.find_spans:
        keep_anchors(made.anchors, name, signed)


@task(name="make parts")
def make_parts(make: Callable[[Piece], tuple[Artifact, bool]], pieces: Sequence[Piece], mapper: Mapper) -> list[tuple[Artifact, bool]]:
    """Make each part of a table from the part of the documents of its number, or find it."""
    return list(mapper(make, pieces))


def profile_part(piece: Piece, documents: Artifact) -> tuple[Artifact, bool]:
    """Profile one part of the documents."""
    number, folder = piece
    return once(folder, lambda out: _store_profiles(out, name_documents(check_documents(store.read_arrow(documents.paths()[number])))))


def sign_part(piece: Piece, documents: Artifact, config: DedupConfig) -> tuple[Artifact, bool]:
    """Compute the MinHash signatures of one part of the documents."""
    number, folder = piece

    def make(out: str) -> Artifact:
        part = check_documents(store.read_arrow(documents.paths()[number]))
        return _store_signatures(out, *compute_signatures(part, config), config)

    return once(folder, make)


# Both tables are made while documents are read, or afterwards. They are written in one chunk, because Parquet begins a run of values anew
# with each and the bytes must not tell which way they came.


def _store_profiles(folder: str, names: Any) -> Artifact:
    return store.publish_frame("profiles", folder, profile_names(names).rechunk())


def _store_signatures(folder: str, signatures: Signatures, facts: Mapping[str, Any], config: DedupConfig) -> Artifact:
    return store.publish_frame("signatures", folder, signatures.rechunk(), {**facts, "minhash": signature_settings(config)})


@task(name="find candidates")
def propose(
    signatures: Artifact, references: Sequence[Reference], folder: str, config: DedupConfig, mapper: Mapper
) -> tuple[Artifact, bool]:
    """Propose pairs that share a band."""

    def make(out: str) -> Artifact:
        parts = [*(part for reference in references for part in reference.signatures), *place(signatures)]
        left_out = np.concatenate([np.empty(0, np.int64), *(reference.left_out for reference in references)])
        with current().ledger.scratch(out) as passing:
            pairs, facts = find_candidates(parts, config, passing, mapper, left_out)
        return store.publish_frame("candidate_pairs", out, pairs, facts)

    return once(folder, make)


@task(name="choose reference documents")
def choose_known(references: Sequence[Reference], profiles: Artifact, candidates: Artifact, folder: str) -> tuple[Artifact, bool]:
    """Take from the references the documents that have to do with an audited one."""

    def make(out: str) -> Artifact:
        contents = store.read_frame(profiles, ["content_hash"])["content_hash"] if references else pl.Series(dtype=pl.Binary)
        chosen = choose_references(references, contents, CANDIDATE_PAIRS.check(store.read_frame(candidates)))
        return store.publish_frame(
            "reference_documents", out, chosen, {reference.digest: reference.num_documents for reference in references}
        )

    return once(folder, make)


@task(name="verify candidates")
def verify(
    candidates: Artifact,
    documents: Artifact,
    signatures: Artifact,
    corpora: Sequence[Reference],
    references: Artifact,
    folder: str,
    sets: str,
    config: DedupConfig,
    mapper: Mapper,
) -> tuple[Artifact, bool]:
    """Compare candidates exactly; their shingle sets stay in the folder `sets`."""

    def make(out: str) -> Artifact:
        pairs = CANDIDATE_PAIRS.check(store.read_frame(candidates))
        sizes = pl.concat([store.read_frame(table, ["doc_id", "num_shingles"]) for table in (references, signatures)])
        verified, facts = verify_candidates(pairs, [*_parts_of(corpora), *place(documents)], sizes, config, sets, mapper)
        return store.publish_frame("duplicate_pairs", out, verified, facts)

    return once(folder, make)


def _parts_of(corpora: Sequence[Reference]) -> list[Placed]:
    return [part for corpus in corpora for part in corpus.documents]


@task(name="cluster documents")
def cluster(profiles: Artifact, references: Artifact, duplicate_pairs: Artifact, folder: str) -> tuple[Artifact, bool]:
    """Join documents of equal content and verified pairs into clusters, through references, too; the table has the documents alone."""

    def make(out: str) -> Artifact:
        identities, known = (store.read_frame(table, ["doc_id", "content_hash"]) for table in (profiles, references))
        pairs = DUPLICATE_PAIRS.check(store.read_frame(duplicate_pairs))
        clusters, facts = cluster_documents(pl.concat([known, identities]), pairs)
        if known.height:
            clusters = without_references(clusters)
            facts = count_clusters(clusters, identities["content_hash"].n_unique(), clusters["cluster_id"].n_unique())
        return store.publish_frame("clusters", out, clusters, facts)

    return once(folder, make)


@task(name="choose removals")
def choose(
    documents: Artifact,
    profiles: Artifact,
    signatures: Artifact,
    clusters: Artifact,
    duplicate_pairs: Artifact,
    corpora: Sequence[Reference],
    references: Artifact,
    folder: str,
    sets: str,
    config: DedupConfig,
    mapper: Mapper,
) -> tuple[Artifact, bool]:
    """Choose which copies go, each with a kept document or a reference that it was compared with."""

    def make(out: str) -> Artifact:
        frame, pairs = CLUSTERS.check(store.read_frame(clusters)), DUPLICATE_PAIRS.check(store.read_frame(duplicate_pairs))
        sizes = store.read_frame(signatures, ["doc_id", "num_bytes", "num_shingles"])
        if references.num_rows:
            known = REFERENCE_DOCUMENTS.check(store.read_frame(references))
            frame = with_references(frame, store.read_frame(profiles, ["doc_id", "content_hash"]), known, pairs)
            sizes = pl.concat([known.select("content_hash", *sizes.columns), sizes], how="diagonal")
        removals, facts = find_removals(documents, frame, pairs, sizes, config, sets, _parts_of(corpora), mapper)
        return store.publish_frame("removals", out, removals, facts)

    return once(folder, make)


@task(name="find repeated spans")
def find_repeats(
    documents: Artifact, profiles: Artifact, clusters: Artifact, removals: Artifact, folder: str, anchors: str, config: DedupConfig
) -> tuple[Artifact, bool]:
    """Find text that several of the documents that stay repeat word for word; anchors that reading left in a folder are used."""

    def make(out: str) -> Artifact:
        if not config.find_spans:
            return store.publish_frame("repeated_spans", out, REPEATED_SPANS.empty())
        named = store.read_frame(profiles, ["doc_id", "is_empty"]).filter(~pl.col("is_empty")).select("doc_id")
        kept = named.join(store.read_frame(removals, ["doc_id"]), on="doc_id", how="anti")
        owners = kept.join(store.read_frame(clusters, ["doc_id", "cluster_id"]), on="doc_id")
        with current().ledger.scratch(out) as passing:
            spans, facts = find_spans(documents, owners, config, passing, anchors)
        return store.publish_frame("repeated_spans", out, spans, facts)

    return once(folder, make)


@task(name="measure quality")
def measure_recall(
    documents: Artifact,
    profiles: Artifact,
    candidates: Artifact,
    references: Artifact,
    duplicate_pairs: Artifact,
    removals: Artifact,
    folder: str,
    config: DedupConfig,
    seed: int,
) -> tuple[Artifact, bool]:
    """Measure on planted copies how many this run finds, and count what other thresholds would."""

    def make(out: str) -> Artifact:
        sample = choose_sample(store.iter_frames(profiles, SAMPLE_COLUMNS), config, seed)
        known = ["doc_id", "content_hash", "num_bytes"]
        texts = pl.DataFrame(list(read_texts(documents, sample["doc_id"].to_list())), schema=TEXTS, orient="row")
        with current().ledger.scratch(out) as passing:
            table, facts = measure_quality(plant_copies(sample.join(texts, on="doc_id"), config, seed), config, passing)
        sweep = sweep_thresholds(
            documents,
            pl.concat([store.read_frame(references, known), store.read_frame(profiles, known)]),
            CANDIDATE_PAIRS.check(store.read_frame(candidates)),
            DUPLICATE_PAIRS.check(store.read_frame(duplicate_pairs)),
            REMOVALS.check(store.read_frame(removals)),
            facts["bins"],
            config,
        )
        return store.publish_frame("planted_pairs", out, table, {**facts, "sweep": sweep})

    return once(folder, make)


@task(name="settle tokenizer")
def settle_tokenizer(documents: Artifact, profiles: Artifact, folder: str, config: ProxyConfig) -> tuple[Artifact, bool]:
    """Take the user's tokenizer, else that of the base that proxies start from, else train one on the corpus."""

    def make(out: str) -> Artifact:
        if config.tokenizer is not None:
            tokenizer = load_tokenizer(config.tokenizer)
        elif config.init_from is not None:
            tokenizer = load_tokenizer(config.init_from)
        else:
            chosen = choose_tokenizer_documents(PROFILES.check(store.read_frame(profiles)))
            tokenizer = train_tokenizer((text for _, text in read_texts(documents, chosen)), config)
        written = store.write_bytes(f"{out}/{TOKENIZER}", serialise_tokenizer(tokenizer))
        return store.publish("tokenizer", out, [written], {"vocab_size": tokenizer.get_vocab_size()})

    return once(folder, make)


@task(name="draw samples")
def draw(
    documents: Artifact, profiles: Artifact, clusters: Artifact, tokenizer: Artifact, folder: str, config: ProxyConfig, seed: int
) -> tuple[Artifact, bool]:
    """Draw the windows that proxies train on."""

    def make(out: str) -> Artifact:
        known = store.read_frame(profiles).join(store.read_frame(clusters), on="doc_id")
        choice = choose_clusters(known, config, seed)
        texts = read_texts(documents, choice.documents["doc_id"].to_list())
        path = f"{tokenizer.folder}/{TOKENIZER}"
        drawn = draw_samples(choice, texts, parse_tokenizer(store.read_bytes(path), where=path), config, seed)
        return store.publish_frame("samples", out, drawn.samples, drawn.facts)

    return once(folder, make)


@task(name="split clusters")
def split(samples: Artifact, folder: str, config: ProxyConfig, seed: int) -> tuple[Artifact, bool]:
    """Say which proxy trains on which cluster."""

    def make(out: str) -> Artifact:
        drawn = SAMPLES.check(store.read_frame(samples))
        return store.publish_frame("proxy_splits", out, split_clusters(drawn, plan_proxies(config, seed), config, seed))

    return once(folder, make)


@task(name="train proxy")
def train(
    pool: Executor, spec: ProxySpec, samples: Artifact, splits: Artifact, vocab_size: int, folder: str, config: ProxyConfig
) -> tuple[Artifact, bool]:
    """Train one proxy in a process of its own and probe it; what that cost goes to the meter of the stage `proxies`."""

    def make(out: str) -> Artifact:
        arguments = (spec, samples.folder, splits.folder, config, vocab_size, out)
        artifact, cost = pool.submit(call, "pipeline.proxy.worker", "measure_proxy", *arguments).result()
        for kind, work in work_of(cost).items() if cost is not None else ():
            current().meter.record("proxies", kind, work)
        return cast(Artifact, artifact)

    return once(folder, make)


@task(name="read with a reference")
def refer(
    pool: Executor,
    documents: Artifact,
    pieces: Sequence[Piece],
    chosen: Sequence[pl.DataFrame],
    tokenizer: Artifact,
    samples: Artifact,
    splits: Artifact,
    runs: tuple[Artifact, Artifact],
    config: ProxyConfig,
    advance: Callable[[], None],
) -> list[tuple[Artifact, bool]]:
    """Run one forward pass over the distinct texts of every part of the documents; `chosen`: those of each part."""
    vocabulary, folders = f"{tokenizer.folder}/{TOKENIZER}", (runs[0].folder, runs[1].folder)
    function, settled = ("pipeline.proxy.reference", "run_reference"), (vocabulary, samples.folder, splits.folder, folders, config)
    found = {out: artifact for _, out in pieces if (artifact := store.find(out)) is not None}
    waiting = {
        out: pool.submit(call_timed, *function, documents.paths()[number], texts, *settled, out, "part-00000")
        for (number, out), texts in zip(pieces, chosen, strict=True)
        if out not in found
    }
    made = []
    for _, out in pieces:
        if out not in found:
            part, computed, waited = waiting.pop(out).result()
            seconds = waited if config.device != "cpu" and current().workers.have_gpus() else computed
            current().meter.record("reference", "reading", reading_work(f"{out}/{part.path}", runs[0].folder, seconds, config))
        made.append((found[out], True) if out in found else (store.publish("document_signals", out, [part]), False))
        advance()
    return made


@task(name="score documents")
def score(
    documents: Artifact,
    clusters: Artifact,
    samples: Artifact,
    splits: Artifact,
    runs: Mapping[str, Artifact],
    document_signals: Artifact,
    folder: str,
    config: AuditConfig,
    spans: Artifact,
) -> tuple[Artifact, bool]:
    """Predict from signals which documents a large model will memorize."""

    def make(out: str) -> Artifact:
        scores, facts = score_documents(
            lambda: (check_documents(part) for part in store.iter_arrow(documents)),
            CLUSTERS.check(store.read_frame(clusters)),
            SAMPLES.check(store.read_frame(samples)),
            PROXY_SPLITS.check(store.read_frame(splits)),
            PROXIES.check(store.read_frame(runs["proxies"])),
            PROXY_SIGNALS.check(store.read_frame(runs["proxy_signals"])),
            EXTRACTIONS.check(store.read_frame(runs["extractions"])),
            DOCUMENT_SIGNALS.check(store.read_frame(document_signals)),
            config.risk,
            config.proxy.suffix_tokens,
            config.seed,
            SINK_GAPS.check(store.read_frame(runs["sink_gaps"])),
            REPEATED_SPANS.check(store.read_frame(spans)) if config.dedup.find_spans else None,
        )
        return store.publish_frame("sink_scores", out, scores, facts)

    return once(folder, make)


@task(name="decide")
def decide_documents(
    profiles: Artifact,
    clusters: Artifact,
    removals: Artifact,
    duplicate_pairs: Artifact,
    scores: Artifact,
    spans: Artifact,
    references: Artifact,
    folder: str,
    config: ReleaseConfig,
    former: Artifact | None = None,
    orders: Artifact | None = None,
) -> tuple[Artifact, bool]:
    """Give every document one action with one reason; former: what rules alone decide, orders: what persons want otherwise."""

    def make(out: str) -> Artifact:
        ordered = None
        if former is not None and orders is not None:
            ordered = in_force(store.read_frame(orders), DECISIONS.check(store.read_frame(former)))
        decisions = decide(
            store.read_frame(profiles),
            CLUSTERS.check(store.read_frame(clusters)),
            REMOVALS.check(store.read_frame(removals)),
            SINK_SCORES.check(store.read_frame(scores)),
            config,
            DUPLICATE_PAIRS.check(store.read_frame(duplicate_pairs)),
            REPEATED_SPANS.check(store.read_frame(spans)),
            REFERENCE_DOCUMENTS.check(store.read_frame(references)),
            ordered,
        )
        return store.publish_frame("decisions", out, decisions)

    return once(folder, make)


@task(name="keep orders")
def keep_orders(orders: pl.DataFrame, folder: str) -> tuple[Artifact, bool]:
    """Store what persons ordered, so that decisions can be traced back to it."""
    return once(folder, lambda out: store.publish_frame("orders", out, orders))


@task(name="record overruled")
def record_overruled(former: Artifact, decisions: Artifact, removals: Artifact, orders: Artifact, folder: str) -> tuple[Artifact, bool]:
    """Record who overruled which decision and why."""

    def make(out: str) -> Artifact:
        before, now = (DECISIONS.check(store.read_frame(table)) for table in (former, decisions))
        return store.publish_frame(
            "overruled", out, record(before, now, REMOVALS.check(store.read_frame(removals)), store.read_frame(orders))
        )

    return once(folder, make)


@task(name="filter documents")
def filter_rows(
    documents: Artifact,
    decisions: Artifact,
    scores: Artifact,
    clusters: Artifact,
    profiles: Artifact,
    spans: Artifact,
    folder: str,
    config: ReleaseConfig,
) -> FilteredData:
    """Write the rows that stay into a staging folder, emptied first."""
    clear_staging(folder)
    known, decided = store.read_frame(profiles, ["doc_id", "content_hash", "row_hash"]), DECISIONS.check(store.read_frame(decisions))
    return filter_documents(
        documents,
        decided,
        folder,
        config,
        SINK_SCORES.check(store.read_frame(scores)),
        CLUSTERS.check(store.read_frame(clusters)),
        placed_spans(known, decided, REPEATED_SPANS.check(store.read_frame(spans)), config),
    )


def guess_part(piece: Piece, documents: Artifact) -> tuple[Artifact, bool]:
    """Guess the language of each document of one part, a row group in memory at a time."""
    number, folder = piece

    def make(out: str) -> Artifact:
        every = np.ones(documents.parts[number].num_rows, np.bool_)
        groups = store.iter_chosen(documents.paths()[number], ["doc_id", "text"], every)
        guessed = [guess_languages(pl.DataFrame(pl.from_arrow(group))) for group in groups]
        return store.publish_frame("languages", out, pl.concat([LANGUAGES.empty(), *guessed]).rechunk())

    return once(folder, make)


@task(name="search sensitive patterns")
def search_sensitive(
    documents: Artifact,
    profiles: Artifact,
    scores: Artifact,
    decisions: Artifact,
    folder: str,
    release: ReleaseConfig,
    report: ReportConfig,
) -> tuple[Artifact, bool]:
    """Count secrets and personal data in the released rows of high risk."""

    def make(out: str) -> Artifact:
        known = store.read_frame(profiles, ["doc_id", "content_hash", "row_hash", "is_empty"])
        found = (SINK_SCORES.check(store.read_frame(scores)), DECISIONS.check(store.read_frame(decisions)))
        chosen, choice = choose_high_risk(known, *found, release, report.sensitive_rows, report.max_sensitive_rows)
        patterns, facts = count_patterns(read_texts(documents, chosen["doc_id"].to_list()), chosen, report.phone_region)
        return store.publish_frame("sensitive_patterns", out, patterns, {**choice, **facts})

    return once(folder, make)
