"""The ledger's tables: each schema declared once, each frame typed by the check it passed.

A document gets an id at the door and never changes; every stage adds one table about it. In memory a table is a polars frame
(`documents` an Arrow table, because the user's columns must survive untouched) whose nominal type only `Table.check` hands out.
Binary hashes are 16 bytes. A column absent from `nullable` holds no null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NewType, TypeVar, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.errors import TableError

if TYPE_CHECKING:

    class Documents(pa.Table):
        """An Arrow table that passed `check_documents`; pyarrow ships no types, so NewType cannot wrap it."""
else:
    Documents = pa.Table

Profiles = NewType("Profiles", pl.DataFrame)
Signatures = NewType("Signatures", pl.DataFrame)
CandidatePairs = NewType("CandidatePairs", pl.DataFrame)
DuplicatePairs = NewType("DuplicatePairs", pl.DataFrame)
Clusters = NewType("Clusters", pl.DataFrame)
Removals = NewType("Removals", pl.DataFrame)
ReferenceDocuments = NewType("ReferenceDocuments", pl.DataFrame)
RepeatedSpans = NewType("RepeatedSpans", pl.DataFrame)
PlantedPairs = NewType("PlantedPairs", pl.DataFrame)
Samples = NewType("Samples", pl.DataFrame)
ProxySplits = NewType("ProxySplits", pl.DataFrame)
Proxies = NewType("Proxies", pl.DataFrame)
ProxySignals = NewType("ProxySignals", pl.DataFrame)
Extractions = NewType("Extractions", pl.DataFrame)
SinkGaps = NewType("SinkGaps", pl.DataFrame)
DocumentSignals = NewType("DocumentSignals", pl.DataFrame)
SinkScores = NewType("SinkScores", pl.DataFrame)
Decisions = NewType("Decisions", pl.DataFrame)
Overruled = NewType("Overruled", pl.DataFrame)
Languages = NewType("Languages", pl.DataFrame)
SensitivePatterns = NewType("SensitivePatterns", pl.DataFrame)

F = TypeVar("F")

USER_PREFIX = "user."
"""Prefix under which `documents` carries the user's own columns, so that theirs may be called `text` or `doc_id` too."""

ACTIONS = ("keep", "downweight", "mask", "review", "drop")
REASONS = (
    "unique",
    "representative",
    "copy_cap",
    "exact_duplicate",
    "near_duplicate",
    "empty",
    "sink_risk",
    "outside_support",
    "repeated_span",
    "overruled",
)
SINK_CLASSES = ("recitation", "reconstruction", "recollection")
SECRET_KINDS = ("private_key", "cloud_key", "code_host_token", "service_token", "json_web_token", "url_password", "assigned_password")
"""What opens something: each kind is explained where it is looked for, in `pipeline.risk.secrets`."""
PERSONAL_KINDS = ("email_address", "phone_number", "payment_card", "bank_account", "national_id", "ip_address")
"""What leads to a person: see `pipeline.risk.personal`."""


@dataclass(frozen=True)
class Table(Generic[F]):
    """Declare one table: its columns, its key, and what may be null."""

    name: str
    columns: Mapping[str, pl.DataType | type[pl.DataType]]
    key: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    is_open: bool = False  # further columns are allowed behind the declared ones
    enums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self, frame: pl.DataFrame) -> F:
        """Return `frame` as this table's nominal type, columns in declared order, or say everything that is wrong with it.

        Raises: TableError naming each missing, surplus, mistyped, null or duplicate-keyed column.
        """
        faults = self._faults_of_columns(frame)
        if not faults:
            faults = self._faults_of_values(frame)
        if faults:
            raise TableError(
                f"table {self.name} has {len(faults)} fault(s): " + "; ".join(faults),
                do="this is a defect in the stage that made the frame; report it with the message",
            )
        extra = [name for name in frame.columns if name not in self.columns]
        return cast(F, frame.select([*self.columns, *extra]))

    def _is_in_order(self, frame: pl.DataFrame) -> bool:
        """Say whether the key is one number that rises from row to row: it is unique then, and no table of values has to say so."""
        return len(self.key) == 1 and self.columns[self.key[0]] == pl.Int64 and is_rising(frame[self.key[0]].to_numpy())

    def empty(self) -> F:
        """Return the table without rows."""
        return self.check(pl.DataFrame(schema=dict(self.columns)))

    def _faults_of_columns(self, frame: pl.DataFrame) -> list[str]:
        faults = [f"column {name} is missing" for name in self.columns if name not in frame.columns]
        if not self.is_open:
            faults += [f"column {name} is not part of the table" for name in frame.columns if name not in self.columns]
        faults += [
            f"column {name} wanted {dtype}, got {frame.schema[name]}"
            for name, dtype in self.columns.items()
            if name in frame.columns and frame.schema[name] != dtype
        ]
        return faults

    def _faults_of_values(self, frame: pl.DataFrame) -> list[str]:
        faults = [
            f"column {name} holds {frame[name].null_count()} null(s)"
            for name in self.columns
            if name not in self.nullable and frame[name].null_count()
        ]
        if self.key and not self._is_in_order(frame) and frame.select(self.key).is_duplicated().any():
            faults.append(f"key {self.key} is not unique")
        for name, allowed in self.enums.items():
            unknown = sorted(set(frame[name].drop_nulls().unique()) - set(allowed))
            if unknown:
                faults.append(f"column {name} wanted one of {allowed}, got {unknown[:3]}")
        return faults


def is_rising(values: npt.NDArray[np.int64]) -> bool:
    """Say whether every value is larger than the one before it."""
    return bool((values[1:] > values[:-1]).all())


PROFILES: Table[Profiles] = Table(
    # what stages need to know of every document without reading its text again
    "profiles",
    {
        "doc_id": pl.Int64,
        "source": pl.String,
        "source_id": pl.String,
        "content_hash": pl.Binary,
        "row_hash": pl.Binary,
        "num_bytes": pl.Int64,  # of the text, UTF-8
        "is_empty": pl.Boolean,  # no visible character
    },
    key=("doc_id",),
)
SIGNATURES: Table[Signatures] = Table(
    "signatures",
    {
        "doc_id": pl.Int64,
        "content_hash": pl.Binary,
        "num_bytes": pl.Int64,  # of the text, UTF-8
        "num_shingles": pl.Int64,  # repeated ones included
        "is_spaceless": pl.Boolean,  # cut into characters, not words
        "signature": pl.Binary,  # num_perm little-endian uint32
    },
    key=("doc_id",),
)
CANDIDATE_PAIRS: Table[CandidatePairs] = Table(
    "candidate_pairs",
    {"doc_id_a": pl.Int64, "doc_id_b": pl.Int64, "shared_bands": pl.Int32, "estimated_jaccard": pl.Float64},
    key=("doc_id_a", "doc_id_b"),
)
REFERENCE_DOCUMENTS: Table[ReferenceDocuments] = Table(
    # of the corpora that are compared with and never lose a row: the documents that share a text or a candidate pair with an audited one
    "reference_documents",
    {
        "doc_id": pl.Int64,  # negative
        "reference": pl.String,  # digest of the corpus
        "source": pl.String,
        "source_id": pl.String,
        "content_hash": pl.Binary,
        "num_bytes": pl.Int64,  # of the text, UTF-8
        "num_shingles": pl.Int64,
    },
    key=("doc_id",),
)
DUPLICATE_PAIRS: Table[DuplicatePairs] = Table(
    "duplicate_pairs",
    {
        "doc_id_a": pl.Int64,
        "doc_id_b": pl.Int64,
        "jaccard": pl.Float64,  # exact, on shingle sets
        "containment_a": pl.Float64,  # share of a's shingles that b has
        "containment_b": pl.Float64,
    },
    key=("doc_id_a", "doc_id_b"),
)
CLUSTERS: Table[Clusters] = Table(
    "clusters",
    {"doc_id": pl.Int64, "cluster_id": pl.Binary, "cluster_size": pl.Int64},
    key=("doc_id",),
)
REMOVALS: Table[Removals] = Table(
    # one row per document that has a verified, directly compared, kept copy and exceeds the copy allowance
    "removals",
    {
        "doc_id": pl.Int64,
        "kept_doc_id": pl.Int64,
        "reason": pl.String,
        "jaccard": pl.Float64,
        "containment_removed": pl.Float64,  # share of the removed document's shingles that the kept one has
        "containment_kept": pl.Float64,
    },
    key=("doc_id",),
    enums={"reason": ("exact_duplicate", "near_duplicate")},
)
REPEATED_SPANS: Table[RepeatedSpans] = Table(
    # runs of text that several kept documents, not duplicates of one another as wholes, hold word for word, as long as the same ones do
    "repeated_spans",
    {
        "doc_id": pl.Int64,
        "start": pl.Int64,  # bytes into the user's own text, UTF-8, end exclusive; whole characters
        "end": pl.Int64,
        "num_words": pl.Int64,  # characters in scripts without spaces
        "span_hash": pl.Binary,  # of the normalised words: equal spans have equal hashes
        "holders": pl.UInt64,  # names the set of documents that hold it, each of its windows in just these
        "num_occurrences": pl.Int64,  # of the least frequent window in it, in all kept documents
        "num_documents": pl.Int64,  # clusters that hold that window
    },
    key=("doc_id", "start"),
)
PLANTED_PAIRS: Table[PlantedPairs] = Table(
    # near-copies made up to measure deduplication; they are in no other table
    "planted_pairs",
    {
        "pair": pl.Int64,
        "jaccard": pl.Float64,  # exact, on plain sets of shingles
        "is_proposed": pl.Boolean,
        "in_one_cluster": pl.Boolean,
        "is_removed": pl.Boolean,  # one of the two, for the other
    },
    key=("pair",),
)
SAMPLES: Table[Samples] = Table(
    "samples",
    {
        "sample_id": pl.Int64,
        "doc_id": pl.Int64,
        "cluster_id": pl.Binary,
        "window_id": pl.Int64,  # smallest sample_id with the same tokens: probes run once per window
        "start": pl.Int64,  # token offsets in the document, end exclusive
        "end": pl.Int64,
        "num_tokens": pl.Int32,
        "tokens": pl.List(pl.Int32),
    },
    key=("sample_id",),
)
PROXY_SPLITS: Table[ProxySplits] = Table(
    "proxy_splits",
    {"cluster_id": pl.Binary, "proxy": pl.String, "in_training": pl.Boolean},
    key=("cluster_id", "proxy"),
)
PROXIES: Table[Proxies] = Table(
    "proxies",
    {
        "proxy": pl.String,
        "role": pl.String,
        "size": pl.Int32,  # rank on the ladder, 0 the smallest
        "num_parameters": pl.Int64,  # non-embedding
        "num_steps": pl.Int64,
        "num_token_visits": pl.Int64,
        "training_flops": pl.Float64,  # logits and attention counted
        "signal_flops": pl.Float64,
        "final_loss": pl.Float64,  # mean over the last tenth of training, nats per token
        "held_out_loss": pl.Float64,
    },
    key=("proxy",),
    # full: all but the held-out clusters; feature_half, label_half: independent in/out splits; memsinks: like full, sinks built in
    enums={"role": ("full", "feature_half", "label_half", "memsinks")},
)
PROXY_SIGNALS: Table[ProxySignals] = Table(
    # phase "exposure": loss in the training batch before the update, any sample; phase "probe": a pass at a checkpoint, one row a window;
    # phase "unseen": a look at held-out windows between checkpoints; phase "forgetting": after going on without the windows of its side
    "proxy_signals",
    {
        "sample_id": pl.Int64,
        "proxy": pl.String,
        "step": pl.Int64,
        "phase": pl.String,
        "loss": pl.Float32,  # nats per token
        "prompt_loss": pl.Float32,  # nats per token of the prompt
        "suffix_loss": pl.Float32,  # nats per token of the suffix
        "min_k_plus_plus": pl.Float32,  # z-score
        "grad_norm": pl.Float32,  # |g|, plain, of the mean token loss
        "absorption": pl.Float32,  # lr * g' P g with P the Adam preconditioner after a step on the text, nats a step
        "spillover": pl.Float32,  # lr * g' P g_val: fall of the held-out loss by a step on the text, nats a step
    },
    key=("sample_id", "proxy", "step", "phase"),
    nullable=frozenset({"prompt_loss", "suffix_loss", "min_k_plus_plus", "grad_norm", "absorption", "spillover"}),
    enums={"phase": ("exposure", "probe", "unseen", "forgetting")},
)
EXTRACTIONS: Table[Extractions] = Table(
    # windows of at least prompt + suffix tokens; prompt = the window's first tokens
    "extractions",
    {
        "sample_id": pl.Int64,
        "proxy": pl.String,
        "memorization_score": pl.Float32,  # share of suffix tokens that are the argmax given the true text before; 1: extractable
        "greedy_match": pl.Int32,  # tokens of the suffix that greedy decoding reproduces before its first error
        "suffix_log_prob": pl.Float32,  # nats, sum over the suffix's tokens
    },
    key=("sample_id", "proxy"),
)
SINK_GAPS: Table[SinkGaps] = Table(
    # a MemSinks proxy at its end: every distinct window of every cluster, once with each mask; no rows where no such proxy was trained
    "sink_gaps",
    {
        "sample_id": pl.Int64,  # the first sample of a cluster with these tokens: the mask belongs to the cluster
        "proxy": pl.String,
        "mask": pl.String,
        "loss": pl.Float32,  # nats per token
        "memorization_score": pl.Float32,  # as in extractions; null where a window is shorter than prompt and suffix
        "greedy_match": pl.Int32,
    },
    key=("sample_id", "proxy", "mask"),
    nullable=frozenset({"memorization_score", "greedy_match"}),
    # own: the cluster's sinks are on; off: no sinks, the general part rescaled; other: a random other mask, the placebo
    enums={"mask": ("own", "off", "other")},
)
DOCUMENT_SIGNALS: Table[DocumentSignals] = Table(
    # one forward pass over every distinct text under a smallest-size proxy that never saw its cluster
    "document_signals",
    {
        "content_hash": pl.Binary,
        "num_tokens": pl.Int64,  # of the whole document
        "num_scored_tokens": pl.Int64,
        "reference_loss": pl.Float64,  # nats per token
        "reference_prompt_loss": pl.Float64,
        "reference_suffix_loss": pl.Float64,
        "reference_loss_sd": pl.Float64,  # over tokens, nats
        "rare_token_rate": pl.Float64,
        "reference_grad_norm": pl.Float64,  # log2 of the gradient's norm, mean over windows
    },
    key=("content_hash",),
    nullable=frozenset(
        {
            "reference_loss",
            "reference_prompt_loss",
            "reference_suffix_loss",
            "reference_loss_sd",
            "rare_token_rate",
            "reference_grad_norm",
        }
    ),
)
SINK_SCORES: Table[SinkScores] = Table(
    "sink_scores",
    {
        "doc_id": pl.Int64,
        "cluster_id": pl.Binary,
        "sink_score": pl.Float64,
        "sink_score_low": pl.Float64,
        "sink_score_high": pl.Float64,
        "predicted_gain": pl.Float64,  # nats per token
        "predicted_gain_low": pl.Float64,
        "predicted_gain_high": pl.Float64,
        "signal_score": pl.Float64,  # sink_score refitted without copies, fuzzy and span mass
        "sink_class": pl.String,
        "scored_by": pl.String,
        "is_supported": pl.Boolean,
        "reason": pl.String,  # the features that moved the score most, in words
    },
    key=("doc_id",),
    nullable=frozenset({"sink_class", "signal_score"}),
    is_open=True,
    enums={"sink_class": SINK_CLASSES, "scored_by": ("teacher", "student", "empty")},
)
DECISIONS: Table[Decisions] = Table(
    "decisions",
    {
        "doc_id": pl.Int64,
        "action": pl.String,
        "weight": pl.Float64,
        "reason": pl.String,
        "kept_doc_id": pl.Int64,
        "evidence": pl.String,
    },
    key=("doc_id",),
    nullable=frozenset({"kept_doc_id"}),
    enums={"action": ACTIONS, "reason": REASONS},
)
LANGUAGES: Table[Languages] = Table(
    "languages",
    {
        "doc_id": pl.Int64,
        "language": pl.String,  # BCP 47, "und" where text is too short or the guess too unsure
        "confidence": pl.Float64,  # the model's own probability, not calibrated; 0 where nothing was guessed
    },
    key=("doc_id",),
)
SENSITIVE_PATTERNS: Table[SensitivePatterns] = Table(
    # of the documents that were examined only; counts, never what was found
    "sensitive_patterns",
    {
        "doc_id": pl.Int64,
        "is_high_risk": pl.Boolean,  # of the document: else it was examined for its score among the highest of the rest
        "kind": pl.String,
        "count": pl.Int64,  # different values in the text
    },
    key=("doc_id", "kind"),
    # nothing, with a count of 0: examined, and no kind found
    enums={"kind": (*SECRET_KINDS, *PERSONAL_KINDS, "nothing")},
)
OVERRULED: Table[Overruled] = Table(
    # what persons ordered, superseded and merely confirming orders included, and the copies that stay out with a row that they dropped
    "overruled",
    {
        "doc_id": pl.Int64,
        "number": pl.Int64,  # place of the order's file among all that were given, from 0; the last about a document is in force
        "former_action": pl.String,  # what the rules alone decide under this run's settings
        "former_reason": pl.String,
        "action": pl.String,
        "reviewer": pl.String,
        "note": pl.String,
        "is_in_force": pl.Boolean,
        "followed_doc_id": pl.Int64,  # the dropped row that this one was removed for; null where the order names this one
    },
    key=("doc_id", "number"),
    nullable=frozenset({"followed_doc_id"}),
    enums={"former_action": ACTIONS, "former_reason": REASONS, "action": ("keep", "review", "drop")},
)

TABLES: Mapping[str, Table[object]] = {
    table.name: cast("Table[object]", table)
    for table in (
        PROFILES,
        SIGNATURES,
        CANDIDATE_PAIRS,
        REFERENCE_DOCUMENTS,
        DUPLICATE_PAIRS,
        CLUSTERS,
        REMOVALS,
        REPEATED_SPANS,
        PLANTED_PAIRS,
        SAMPLES,
        PROXY_SPLITS,
        PROXIES,
        PROXY_SIGNALS,
        EXTRACTIONS,
        SINK_GAPS,
        DOCUMENT_SIGNALS,
        SINK_SCORES,
        DECISIONS,
        LANGUAGES,
        SENSITIVE_PATTERNS,
    )
}

DOCUMENT_FIELDS = pa.schema(
    [
        pa.field("doc_id", pa.int64(), nullable=False),
        pa.field("source", pa.large_string(), nullable=False),
        pa.field("source_id", pa.large_string(), nullable=False),
        pa.field("content_hash", pa.binary(16), nullable=False),
        pa.field("row_hash", pa.binary(16), nullable=False),
        pa.field("text", pa.large_string()),  # null where the user's was
    ]
)


def check_documents(table: pa.Table) -> Documents:
    """Return `table` as documents: the declared columns first and of their type, then the user's under `user.`.

    Raises: TableError naming each column at fault.
    """
    faults = []
    for position, wanted in enumerate(DOCUMENT_FIELDS):
        if position >= table.num_columns or table.column_names[position] != wanted.name:
            faults.append(f"column {position} must be {wanted.name}")
        elif table.schema.field(position).type != wanted.type:
            faults.append(f"column {wanted.name} wanted {wanted.type}, got {table.schema.field(position).type}")
        elif not wanted.nullable and table.column(position).null_count:
            faults.append(f"column {wanted.name} holds {table.column(position).null_count} null(s)")
    faults += [
        f"column {name} must start with {USER_PREFIX}"
        for name in table.column_names[len(DOCUMENT_FIELDS) :]
        if not name.startswith(USER_PREFIX)
    ]
    if faults:
        raise TableError(f"table documents has {len(faults)} fault(s): " + "; ".join(faults))
    return cast(Documents, table)
