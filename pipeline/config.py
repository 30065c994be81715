"""One YAML file, one frozen model: every setting of an audit, its range, and its default.

The same model is the Prefect parameter form and the JSON Schema. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import ConfigError, StorageError
from pipeline.memory import choose_sizes, parse_size
from pipeline.places import explained, holds_secret, locate

Share = Annotated[float, Field(ge=0.0, le=1.0)]
FINE_TUNING_RATE = 1e-4
"""Peak learning rate of proxies that start from a base: a tenth of the rate at which Pythia's smallest model was pretrained."""
KeepRule = Literal["source_priority", "longest", "shortest", "quality", "earliest"]
GateSeverity = Literal["off", "warn", "fail"]
GuardSeverity = Literal["off", "warn", "fail", "abort"]
Arm = Literal["raw", "exact", "minhash", "policy", "random", "perplexity", "copy_cap", "downweight", "mask", "random_mask", "drop"]
Criterion = Literal["random", "risk", "risk_low_spillover", "low_spillover", "copies", "length", "perplexity"]


def _without_secrets(url: str) -> str:
    if holds_secret(url):
        raise PydanticCustomError(
            CREDENTIALS, "the URL holds credentials, which would end in reports; give them by environment variables or a profile instead"
        )
    return url


CREDENTIALS = "credentials"
Place = Annotated[str, AfterValidator(_without_secrets)]
"""A path or an fsspec URL without credentials: configurations are kept beside reports and shown in them."""


class Section(BaseModel):
    """Refuse unknown keys, later changes, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputConfig(Section):
    """Say where the text is and which columns hold it."""

    paths: tuple[Place, ...] = Field(default=(), description="files, folders or globs; local paths or fsspec URLs")
    dataset: str | None = Field(default=None, description="a Hugging Face dataset: hub name or local folder, instead of paths")
    dataset_config: str | None = None
    split: str = "train"
    format: Literal["auto", "parquet", "jsonl", "csv", "text", "arrow", "dataset"] = "auto"
    text_column: str | None = Field(default=None, description="guessed when unambiguous")
    id_column: str | None = None
    source_column: str | None = Field(default=None, description="default: a column named source, else the file's name")
    new_only: bool = Field(
        default=False,
        description="read those files alone of which no audit of this name has released the rows, and compare them with what those kept",
    )
    files: tuple[str, ...] = Field(
        default=(), description="read these alone of what paths find, each named from the folder that all of it shares; none: all"
    )
    rows_per_part: int = Field(default=50_000, ge=1)
    bytes_per_part: int = Field(default=64 * 2**20, ge=2**10, description="bytes of text and columns after which a new part begins")

    codec: Literal["none", "lz4", "zstd"] = Field(
        default="none", description="of the ledger's copy of the texts: none is the fastest and takes as much disk as the text, lz4 a third"
    )

    @field_validator("paths", "files", mode="before")
    @classmethod
    def _one_path(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.paths) == bool(self.dataset):
            raise ValueError("give either input.paths or input.dataset, not both and not neither")
        if self.dataset and (self.new_only or self.files):
            raise ValueError("input.new_only and input.files choose among the files of input.paths; a dataset is read whole")
        if self.new_only and self.files:
            raise ValueError("input.new_only chooses the files itself: give one of input.files and input.new_only")
        return self


class ReferenceConfig(Section):
    """Name corpora that every document is compared with and that lose no row themselves: benchmarks, another corpus, earlier runs."""

    paths: tuple[Place, ...] = Field(
        default=(), description="files, folders or globs; each entry is a reference of its own, named after it"
    )
    runs: tuple[Place, ...] = Field(
        default=(), description="finished audits, by name or by folder: what their deduplication kept, by its stored signatures"
    )
    format: Literal["auto", "parquet", "jsonl", "csv", "text", "arrow", "dataset"] = Field(default="auto", description="of the paths")
    text_column: str | None = Field(default=None, description="of the paths; guessed in each when unambiguous")
    id_column: str | None = None
    source_column: str | None = None

    @field_validator("paths", "runs", mode="before")
    @classmethod
    def _one_entry(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class DedupConfig(Section):
    """Set how near-duplicates are proposed, verified and removed."""

    ngram: int = Field(default=5, ge=1, le=32, description="words a shingle (characters in scripts without spaces)")
    num_perm: int = Field(default=128, ge=16, le=1024)
    num_bands: int = Field(default=20, ge=1)
    rows_per_band: int = Field(default=6, ge=1)
    threshold: float = Field(default=0.8, gt=0.0, le=1.0, description="exact Jaccard on shingle sets from which a pair is duplicate")
    seed: int = Field(default=1, ge=0, lt=2**32, description="of the permutations, as in datasketch.MinHash")
    max_bucket_pairs: int = Field(
        default=10_000, ge=0, description="sketch comparisons per bucket beyond one for each member; what is skipped is counted"
    )
    max_cluster_comparisons: int = Field(
        default=1_000_000, ge=0, description="exact comparisons per cluster when copies are chosen; a document left uncompared is kept"
    )
    max_copies: int = Field(default=1, ge=1, description="members of one duplicate group that stay, of whatever source")
    keep: tuple[KeepRule, ...] = Field(
        default=("source_priority", "quality", "longest"),
        description="rules that choose the copy that stays, in order; a rule without its setting decides nothing, what is left goes to "
        "hashes. Risk is no rule: it is scored after copies are removed",
    )
    source_priority: tuple[str, ...] = Field(default=(), description="sources whose copy is preferred, best first")
    quality_column: str | None = Field(default=None, description="numeric user column; the highest is kept, null and NaN last")
    earliest_column: str | None = Field(
        default=None, description="dates, numbers, or text that holds either (ISO 8601, no offset: UTC); the smallest is kept, empty last"
    )
    num_partitions: int = Field(default=16, ge=1, description="fewest partitions of the band shuffle, each worker holds one in memory")
    partition_bytes: int = Field(default=32 * 2**20, ge=2**10, description="band keys from which there are more partitions")
    block_bytes: int = Field(default=64 * 2**20, ge=2**10, description="shingle sets that exact comparison holds in memory for a worker")

    find_spans: bool = Field(default=True, description="look for text that several kept documents repeat word for word")
    min_span_words: int = Field(
        default=32, ge=8, le=1024, description="words (characters in scripts without spaces) of the shortest repeated span; about 50 tokens"
    )
    min_span_documents: int = Field(default=3, ge=2, description="clusters of documents that must hold a span")

    num_plants: int = Field(
        default=400, ge=0, le=100_000, description="pairs of made-up near-copies on which recall is measured; 0: it is not"
    )

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if self.num_bands * self.rows_per_band > self.num_perm:
            raise ValueError(f"num_bands x rows_per_band = {self.num_bands * self.rows_per_band} exceeds num_perm = {self.num_perm}")
        for rule, column in (("quality", self.quality_column), ("earliest", self.earliest_column)):
            if column is not None and rule not in self.keep:
                raise ValueError(f"{rule}_column is set but dedup.keep does not list {rule!r}")
        return self

    @model_validator(mode="after")
    def _keep_rules_can_decide(self) -> Self:
        if self.source_priority and "source_priority" not in self.keep:
            raise ValueError("source_priority is set but dedup.keep does not list 'source_priority'")
        if "earliest" in self.keep and self.earliest_column is None:
            raise ValueError("dedup.keep lists 'earliest' but earliest_column is not set")
        for name, values in (("keep", self.keep), ("source_priority", self.source_priority)):
            if len(set(values)) < len(values):
                raise ValueError(f"dedup.{name} names something twice")
        return self


class ProxyConfig(Section):
    """Set the proxy models: tokenizer, samples, ladder, training."""

    tokenizer: str | None = Field(
        default=None, description="local tokenizer.json or its folder; default: byte-level BPE trained on the corpus"
    )
    vocab_size: int = Field(default=2048, ge=300, le=65_536)
    context: int = Field(default=64, ge=16, le=4096, description="tokens a window")
    prompt_tokens: int = Field(default=16, ge=1)
    suffix_tokens: int = Field(default=16, ge=1)
    token_budget: int = Field(default=120_000, ge=1_000, description="tokens of the subsample that proxies train on, copies included")
    max_windows_per_document: int = Field(default=4, ge=1)
    held_out_share: float = Field(default=0.05, gt=0.0, lt=0.5, description="of clusters: seen by no proxy")
    architecture: Literal["gpt_neox", "llama"] = "gpt_neox"
    init_from: str | None = Field(
        default=None,
        description="local folder of a base checkpoint (config.json, model.safetensors, tokenizer.json; GPT-NeoX or Llama family) that "
        "proxies start from instead of random weights; architecture and vocab_size are then the base's",
    )
    ladder: tuple[int | float, ...] = Field(
        default=(2, 3, 4),
        description="dial of each size: its whole part is the number of layers, width and heads follow from it; with init_from the share "
        "of the base's layers is dial / largest dial",
    )
    num_halves: tuple[int, int] = Field(default=(8, 4), description="in/out proxies at the two smallest sizes, in complementary pairs")
    epochs: float = Field(default=4.0, gt=0.0)
    batch_windows: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=6e-3, gt=0.0, description="at its peak; 1e-4 if not set and init_from is")
    weight_decay: float = Field(default=0.1, ge=0.0)
    warmup_share: Share = 0.05
    num_checkpoints: int = Field(default=2, ge=1, description="log-spaced probes of a full run, the last at its end")
    max_scored_tokens: int = Field(default=512, ge=16, description="tokens of each document that the one forward pass reads")
    reference_gradients: bool = Field(default=False, description="let that pass take gradient norms, too: three times its cost")
    forgetting: bool = Field(
        default=False, description="let the first pair of feature halves go on without their texts for a fifth of their steps"
    )
    memsinks: bool = Field(default=False, description="also train a proxy with memorization sinks, at the smallest size")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is any")
    workers: int = Field(default=2, ge=1, description="training processes, one thread each; GPUs are dealt out to runs in turn")

    @model_validator(mode="before")
    @classmethod
    def _rate_of_fine_tuning(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("init_from") is not None:
            return {"learning_rate": FINE_TUNING_RATE, **values}
        return values

    @field_validator("ladder", mode="after")
    @classmethod
    def _whole_dials_are_integers(cls, ladder: tuple[int | float, ...]) -> tuple[int | float, ...]:
        """Keep one form of each dial, so that digests of settings do not tell 2 from 2.0."""
        return tuple(int(dial) if dial == int(dial) else dial for dial in ladder)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.prompt_tokens + self.suffix_tokens > self.context:
            raise ValueError("prompt_tokens + suffix_tokens exceed context")
        if len(self.ladder) < 3 or list(self.ladder) != sorted(set(self.ladder)):
            raise ValueError("ladder needs at least three strictly rising sizes")
        if self.ladder[0] < 1:
            raise ValueError("ladder needs dials of 1 or more: a model has a layer")
        if self.num_halves[0] < 8 or self.num_halves[0] % 4 or self.num_halves[1] < 4 or self.num_halves[1] % 2:
            raise ValueError("num_halves needs at least 8 (a multiple of 4: two independent sets of pairs) and at least 4 (pairs)")
        return self


class RiskConfig(Section):
    """Set the predictor and what it predicts for."""

    target_parameters: float = Field(default=1e7, gt=0.0, description="non-embedding size of the model the scores are for")
    null_quantile: float = Field(default=0.99, gt=0.5, lt=1.0, description="of the out-versus-out gain that a memorized cluster exceeds")
    discoverable_tries: int = Field(default=100, ge=1, description="n of (n, p)-discoverability")
    discoverable_probability: float = Field(default=0.5, gt=0.0, lt=1.0)
    num_folds: int = Field(default=5, ge=2)
    num_bootstrap: int = Field(default=50, ge=10)
    interval: float = Field(default=0.95, gt=0.5, lt=1.0)
    support_quantile: float = Field(default=0.999, gt=0.5, le=1.0, description="beyond this quantile of distance to training rows: abstain")
    recitation_copies: int = Field(default=5, ge=1, description="more copies than this: recitation (Prashanth 2025)")


class GuardsConfig(Section):
    """Say what a gate on deduplication does when its limit is exceeded.

    off: nothing; warn: the verdict is WARN; fail: the report is written and the filtered data held back; abort: the run ends right
    after deduplication, before any proxy is trained (what is exceeded only later fails).
    """

    source_loss: GuardSeverity = "warn"
    largest_cluster: GuardSeverity = "warn"
    transitive_only: GuardSeverity = "warn"
    bucket_cap: GuardSeverity = "warn"


class GatesConfig(Section):
    """Say what the other gates do when they do not hold: off, nothing; warn: the verdict is WARN; fail: the data is held back.

    Two more gates have no setting: rows that do not add up, and filtered data without a row, always fail.
    """

    removal_recall: GateSeverity = "warn"
    outside_support: GateSeverity = "warn"
    predictor_beats_rival: GateSeverity = "warn"
    calibration: GateSeverity = "warn"
    secrets_in_kept_rows: GateSeverity = "warn"


class WaiverConfig(Section):
    """Let one gate be exceeded until a day, by somebody's word; the report, the manifest and every record of the run show it."""

    gate: str
    until: date = Field(description="the last day on which the waiver holds, UTC; a day that is past waives nothing")
    approver: str = Field(min_length=2, max_length=100, description="who answers for it")
    reason: str = Field(min_length=2, max_length=500, description="why it may be exceeded")

    @field_validator("gate")
    @classmethod
    def _is_known(cls, value: str) -> str:
        known = [*GuardsConfig.model_fields, *GatesConfig.model_fields]
        if value in ("rows_balance", "filtered_rows"):
            raise ValueError(f"{value} cannot be waived: it proves that the filtered data is what the report says")
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            raise ValueError(f"unknown gate {value}; " + (f"did you mean {near[0]}" if near else f"available: {', '.join(known)}"))
        return value

    @field_validator("approver", "reason")
    @classmethod
    def _is_said(cls, value: str) -> str:
        if not value.strip() or not value.isprintable():
            raise ValueError("say it in one line of visible characters")
        return value.strip()


class ReleaseConfig(Section):
    """Set what happens to a row and which gates a release must pass."""

    policy: Literal["report", "downweight", "review", "drop"] = Field(
        default="downweight", description="action for rows at or above sink_threshold; report only scores them"
    )
    sink_threshold: Share = 0.5
    sink_bound: Literal["low", "score"] = Field(
        default="low",
        description="what has to reach sink_threshold before the policy acts: the lower end of the score's interval, or the score",
    )
    spans: Literal["report", "mask", "trim"] = Field(
        default="report",
        description="what happens to repeated spans: listed; left out of the loss (sink_mask_spans); cut out of all but one document",
    )
    drop_threshold: Share = Field(default=1.0, description="score whose whole interval must lie above it before a row is dropped")
    max_drop_share: Share = Field(default=0.01, description="of kept documents that the sink policy may drop, highest scores first")
    min_weight: float = Field(default=0.1, gt=0.0, le=1.0)
    hold_review: bool = Field(default=False, description="leave rows under review out of the filtered data")
    extra_columns: tuple[Literal["doc_id", "sink_score", "cluster_id", "cluster_size"], ...] = ()
    rows_per_shard: int = Field(default=500_000, ge=1)
    guards: GuardsConfig = GuardsConfig()
    gates: GatesConfig = GatesConfig()
    waivers: tuple[WaiverConfig, ...] = Field(default=(), description="gates that may be exceeded for a while, one waiver a gate")
    max_source_loss: Share = Field(default=0.8, description="of one source's rows")
    max_loss_of_source: dict[str, Share] = Field(default_factory=dict, description="other limits for some sources, by name")
    max_cluster_share: Share = 0.2
    max_transitive_share: Share = 0.05
    max_skipped_share: Share = 0.01
    min_removal_recall: Share = Field(default=0.95, description="that the lower bound of recall on planted copies must reach")
    max_unsupported_share: Share = 0.2
    min_rival_margin: float = Field(default=0.0, description="average precision over the rival's that the lower bound must exceed")
    min_brier_skill: float = Field(default=0.0, lt=1.0, description="that the lower bound must exceed")
    max_kept_secrets: int = Field(default=0, ge=0, description="secret-like patterns in kept rows of high risk")
    min_gate_rows: int = Field(default=20, ge=1, description="rows below which a share is not judged")
    min_gate_plants: int = Field(default=100, ge=1, description="planted pairs below which recall on them is not judged")
    license: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="of the corpus, as the dataset card and croissant.json shall name it: such as cc-by-4.0, or a URL; nothing is assumed",
    )

    @field_validator("waivers")
    @classmethod
    def _one_waiver_a_gate(cls, value: tuple[WaiverConfig, ...]) -> tuple[WaiverConfig, ...]:
        named = [waiver.gate for waiver in value]
        if twice := sorted({gate for gate in named if named.count(gate) > 1}):
            raise ValueError(f"{', '.join(twice)} is waived twice; give the later waiver alone")
        return value


class ReportConfig(Section):
    """Set what the report shows of the corpus."""

    excerpts: Literal["none", "short", "full"] = Field(default="short", description="short: redacted, at most 200 characters")
    max_rows: int = Field(default=200, ge=1, le=200, description="flagged rows that the page lists")
    sensitive_rows: int = Field(
        default=1_000, ge=0, description="released rows searched for secrets and personal data even if fewer are of high risk"
    )
    max_sensitive_rows: int = Field(default=100_000, ge=0, description="released rows of high risk beyond which no more are searched")
    phone_region: str | None = Field(
        default=None, pattern=r"^[A-Z]{2}$", description="country whose national telephone numbers count, too, such as US"
    )


class ValidationConfig(Section):
    """Set the real training that predictions are held against; it decides nothing of the audit itself.

    Targets train on the audited corpus, unfiltered, with the proxies' tokenizer, context and architecture, and with seeds of their own.
    """

    dial: float = Field(default=8, ge=1, description="size of the target, as on proxy.ladder")
    epochs: float = Field(default=4.0, gt=0.0)
    batch_windows: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0.0, description="at its peak")
    max_tokens: int | None = Field(default=None, ge=1_000, description="of the corpus for targets, which holds the proxies' subsample")
    held_out_share: float = Field(default=0.05, gt=0.0, lt=0.5, description="of clusters: in no target, their loss is the outcome's price")
    num_halves: int = Field(default=8, ge=2, description="targets on random halves, in complementary pairs; for the record 8 or more")
    span_tokens: int = Field(default=48, ge=8, description="clusters with so long a run of tokens in common are in or out together ...")
    max_group_share: float = Field(default=0.02, gt=0.0, le=1.0, description="... as long as they hold no more of all tokens than this")
    planted_sources: tuple[str, ...] = Field(default=(), description="sources whose documents are plants; the headline is without them")
    arms: tuple[Arm, ...] = Field(default=("raw", "minhash", "policy", "random"), description="filters whose outcome is measured")
    equal_epochs: tuple[Arm, ...] = Field(default=("minhash", "policy", "random"), description="arms also run for as many epochs")
    num_seeds: int = Field(default=3, ge=1, description="of each arm; for the record 3 or more")
    arm_dial: float | None = Field(default=None, ge=1, description="size of the arms' models; default: the target's")
    max_copies: int = Field(default=4, ge=1, description="that the arm copy_cap leaves of each cluster")
    curve: tuple[Criterion, ...] = Field(default=(), description="by what the free-token curve drops deduplicated text; none: no curve")
    curve_shares: tuple[Share, ...] = (0.02, 0.05, 0.1, 0.2)
    curve_scopes: tuple[Literal["natural", "all"], ...] = ("natural",)
    checkpoint_steps: int = Field(default=250, ge=1, description="training steps after which a killed target goes on")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of targets alone; equal numbers elsewhere do not make them alike")
    workers: int = Field(default=2, ge=1)

    @field_validator("planted_sources", "arms", "equal_epochs", "curve", "curve_scopes", mode="before")
    @classmethod
    def _one_entry(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _runs_fit(self) -> Self:
        if self.num_halves % 2:
            raise ValueError("num_halves is odd: halves come in complementary pairs")
        if missing := sorted(set(self.equal_epochs) - set(self.arms)):
            raise ValueError(f"equal_epochs names {', '.join(missing)}, which arms does not list")
        return self


class RuntimeConfig(Section):
    """Set where things go and how much of the machine is used."""

    ledger: Place = "data/runs"
    filtered: Place = "data/filtered"
    reports: Place = "reports"
    reports_url: str | None = Field(
        default=None, description="address at which readers open runtime.reports in a browser; the link to a report in Prefect leads there"
    )
    scratch: Place | None = Field(
        default=None,
        description="folder for what stages write, read back and remove; default: in the ledger or, where that is an object store, "
        "below TMPDIR. Where a stage's work is spread over several machines, one that all of them see",
    )
    workers: int = Field(default=2, ge=1, description="how much of a stage is worked on at a time")
    runner: Literal["threads", "processes", "ray"] = Field(
        default="threads",
        description="who works: threads of one process, processes of one machine, or a Ray cluster; no byte depends on it",
    )
    ray_address: str | None = Field(
        default=None, description="of the Ray cluster, such as 10.0.0.1:6379, or auto; default: one on this machine, for the run"
    )
    memory_limit: int | None = Field(
        default=None,
        ge=1,
        description="bytes, or a size such as 1.5GB, that deduplication stays below, all processes together: chooses input.bytes_per_part, "
        "dedup.block_bytes and dedup.partition_bytes where they are not set",
    )

    @model_validator(mode="after")
    def _address_is_rays(self) -> Self:
        if self.ray_address is not None and self.runner != "ray":
            raise ValueError("ray_address is set but runner is not ray")
        return self

    @field_validator("memory_limit", mode="before")
    @classmethod
    def _as_bytes(cls, value: object) -> object:
        return parse_size(value) if isinstance(value, str) else value


class AuditConfig(Section):
    """Hold a whole audit's settings."""

    name: str = Field(default="audit", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    input: InputConfig
    reference: ReferenceConfig = ReferenceConfig()
    dedup: DedupConfig = DedupConfig()
    proxy: ProxyConfig = ProxyConfig()
    risk: RiskConfig = RiskConfig()
    release: ReleaseConfig = ReleaseConfig()
    report: ReportConfig = ReportConfig()
    validation: ValidationConfig = ValidationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _spans_are_found(self) -> Self:
        if self.release.spans != "report" and not self.dedup.find_spans:
            raise ValueError(f"release.spans = {self.release.spans} needs dedup.find_spans: true")
        return self

    @model_validator(mode="after")
    def _sizes_fit_memory(self) -> Self:
        """Settle the sizes that follow from the memory limit, so that they are settings like any others."""
        if self.runtime.memory_limit is not None:
            chosen = choose_sizes(self.runtime.memory_limit, self.runtime.workers)
            for name, section in (("input", self.input), ("dedup", self.dedup)):
                own = {key: value for key, value in chosen.items() if key in type(section).model_fields.keys() - section.model_fields_set}
                # the model is frozen for everyone else
                self.__dict__[name] = section.model_copy(update=own)
        return self


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read a YAML file, local or at a URL, and apply `section.key=value` overrides, whose values are YAML too.

    Raises: ConfigError naming the file, the key, the nearest known key and what was wrong with the value.
    """
    try:
        filesystem, plain = locate(str(path))
        with explained(str(path), "read"):
            raw = yaml.safe_load(filesystem.cat_file(plain).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError("no such configuration file", where=str(path), do="create one with `sinkaudit init PATH_TO_CORPUS`") from None
    except (yaml.YAMLError, UnicodeDecodeError, StorageError) as error:
        raise ConfigError("the configuration is not readable YAML", where=str(path), got=str(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError("the configuration is not a mapping", where=str(path), wanted="sections such as input:", got=type(raw).__name__)
    return parse_config(_with_overrides(raw, overrides), where=str(path))


def amend_config(config: AuditConfig, overrides: Sequence[str], sections: Sequence[str]) -> AuditConfig:
    """Return a configuration with `section.key=value` overrides, all of them within some sections.

    Raises: ConfigError for a key of another section, an unknown one or a wrong value.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key.partition(".")[0] not in sections or "." not in key:
            raise ConfigError(
                f"{key} cannot be changed here: all before the decisions stays as it was computed",
                where=override,
                wanted=" or ".join(f"{section}.KEY=VALUE" for section in sections),
                do="run a new audit with `sinkaudit run` for anything else",
            )
    return parse_config(_with_overrides(config.model_dump(mode="json"), overrides), where="--set")


def parse_config(raw: Mapping[str, Any], where: str = "configuration") -> AuditConfig:
    """Validate a mapping as an audit's configuration; a section with nothing in it, as where all lines are comments, is its defaults.

    Raises: ConfigError listing every fault.
    """
    try:
        return AuditConfig.model_validate({key: value for key, value in raw.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(_explain(fault) for fault in error.errors())
        raise ConfigError(f"{error.error_count()} setting(s) are wrong: {faults}", where=where) from None


def canonical_json(section: BaseModel) -> str:
    """Return a section as JSON with sorted keys: the form that digests are taken of."""
    return json.dumps(section.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        dotted, sign, value = override.partition("=")
        if not sign or not dotted:
            raise ConfigError("an override is not key=value", got=override, do="write for example --set dedup.threshold=0.7")
        *path, last = dotted.split(".")
        at = raw
        for key in path:
            if at.get(key) is None:
                at[key] = {}
            at = at[key]
            if not isinstance(at, dict):
                raise ConfigError(f"{key} is not a section", where=override)
        try:
            at[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError("an override's value is not YAML", where=override, got=str(error)) from error
    return raw


def _explain(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "configuration"
    if fault["type"] == CREDENTIALS:
        return f"{key}: {fault['msg']}"  # and not what came
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg']} (got {fault['input']!r:.80})"
    *path, last = [str(part) for part in fault["loc"]]
    model: Any = AuditConfig
    for part in path:
        field = model.model_fields.get(part)  # a position in a list is no field: the list's model stays
        model = next(filter(_is_section, (field.annotation, *get_args(field.annotation))), model) if field is not None else model
    known = list(getattr(model, "model_fields", {}))
    near = difflib.get_close_matches(last, known, n=1)
    hint = f"did you mean {near[0]}" if near else f"available: {', '.join(known)}"
    return f"unknown key {key}; {hint}"


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
