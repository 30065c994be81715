"""Hold predictions against real training: audit, freeze, train targets, judge.

The audit's stages are found in the ledger or made. Then its predictions are frozen, and only then targets train; what they did is read by
nothing but the judgement.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

from prefect.task_runners import ThreadPoolTaskRunner

from flows.arms import plan_arms
from flows.deduplicate import Deduplicated, deduplicate, read
from flows.discreet import flow, task
from flows.frozen import Frozen, freeze, told
from flows.ledger import once
from flows.orphans import settle_servers
from flows.proof import Trained, judge_targets, write_results
from flows.run import Run, running
from flows.score import RISK_CODE, Scored, score
from flows.targets import Planned, TargetCorpus, plan_halves, prepare, train
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.corpus.documents import input_digest
from pipeline.errors import ConfigError
from pipeline.proof.independence import check_unseen
from pipeline.proxy.splits import plan_proxies
from pipeline.proxy.targets import check_seeds
from pipeline.risk.evidence import Evidence
from pipeline.risk.predictions import ablate_documents, collect_predictions
from pipeline.store import Artifact
from pipeline.tables import (
    CLUSTERS,
    DOCUMENT_SIGNALS,
    EXTRACTIONS,
    PROXIES,
    PROXY_SIGNALS,
    PROXY_SPLITS,
    REPEATED_SPANS,
    SAMPLES,
    SINK_SCORES,
    check_documents,
)

Only = Literal["labels", "arms", "judge"]
PREFIX = "validate-"
"""Of a configuration's name, left out of its record's."""


@dataclass(frozen=True)
class ValidationResult:
    """Say where the results are, what was frozen, and what was found."""

    folder: str
    frozen: str
    is_judged: bool
    values: Mapping[str, Any]

    def text(self) -> str:
        """Return the result as lines for a terminal."""
        lines = [self.frozen, *(str(bar["sentence"]) for bar in self.values.get("bars", ())), *self.values.get("limits", ())]
        return "\n".join([*lines, f"results: {self.folder}" if self.is_judged else "targets are trained; nothing is judged yet"])


def run_validation(config: AuditConfig, only: Only | None = None, command: str = "", *, quiet: bool = False) -> ValidationResult:
    """Validate an audit's predictions as a Prefect flow.

    `only`: train the label halves alone, or the arms alone, or judge with what is trained. Raises: what a stage raised; IntegrityError
    when a target is not independent of the proxies.
    """
    if config.input.new_only:
        raise ConfigError("a validation is of a whole corpus", where="input.new_only", do="set input.new_only=false")
    logged = config.runtime.model_copy(update={"reports": f"{config.runtime.ledger}/validations"})
    folder = f"{config.runtime.reports}/validation/{config.name.removeprefix(PREFIX)}"
    settle_servers()
    return validate(config.model_copy(update={"runtime": logged}), folder, only, command, quiet)


@flow(name="validate", task_runner=ThreadPoolTaskRunner(max_workers=8))
def validate(config: AuditConfig, folder: str, only: Only | None = None, command: str = "", quiet: bool = False) -> ValidationResult:
    """Freeze predictions, train targets, hold one against the other."""
    with running(config, input_digest(config.input), quiet=quiet, claim=f"validation-{only or 'all'}") as run:
        documents = read(run)
        copies = deduplicate(config, documents)
        scored = score(config, documents, copies)
        corpus = prepare(run, config, documents, copies, scored.tokenizer, scored.samples)
        halves, arms = plan_halves(run, config, corpus), plan_arms(run, config, documents, copies, scored, corpus)
        proxies = evidence_of(scored, config)
        refuse_shared(config, proxies, corpus, [*halves, *(arm.planned for arm in arms)])
        frozen = freeze_scores(run, config, documents, copies, scored, corpus, proxies, [*halves, *(arm.planned for arm in arms)], folder)
        run.narrator.say(told(frozen))
        with run.workers.trainers(config.proxy, config.validation.workers) as pool:
            trained = train_all(run, pool, config, corpus, halves, [arm.planned for arm in arms], only)
        values: dict[str, Any] = {}
        if trained.has_pair():
            with run.stage("judgement") as stage:
                values = judge_targets(config, scored, corpus, proxies, frozen, halves, arms, trained, folder)
                write_results(values, command, folder)
                stage.advance()
    return ValidationResult(folder, told(frozen), bool(values), values)


def evidence_of(scored: Scored, config: AuditConfig) -> Evidence:
    """Read what the audit's proxies left."""
    return Evidence(
        SAMPLES.check(store.read_frame(scored.samples)),
        PROXY_SPLITS.check(store.read_frame(scored.splits)),
        PROXIES.check(store.read_frame(scored.runs["proxies"])),
        PROXY_SIGNALS.check(store.read_frame(scored.runs["proxy_signals"])),
        EXTRACTIONS.check(store.read_frame(scored.runs["extractions"])),
        config.proxy.suffix_tokens,
    )


def refuse_shared(config: AuditConfig, proxies: Evidence, corpus: TargetCorpus, planned: Sequence[Planned]) -> None:
    """Refuse targets that share a seed or a split with a proxy, before they are trained."""
    check_seeds(plan_proxies(config.proxy, config.seed), [one.spec for one in planned])
    samples, splits = SAMPLES.check(store.read_frame(corpus.samples)), PROXY_SPLITS.check(store.read_frame(corpus.splits))
    nothing = (PROXIES.empty(), PROXY_SIGNALS.empty(), EXTRACTIONS.empty())
    check_unseen(proxies, Evidence(samples, splits, *nothing, config.proxy.suffix_tokens))


def freeze_scores(
    run: Run,
    config: AuditConfig,
    documents: Artifact,
    copies: Deduplicated,
    scored: Scored,
    corpus: TargetCorpus,
    proxies: Evidence,
    planned: Sequence[Planned],
    folder: str,
) -> Frozen:
    """Collect what the audit predicted of each cluster and freeze it."""
    with run.stage("freeze") as stage:
        inputs = (
            documents.digest,
            copies.clusters.digest,
            scored.scores.digest,
            *(scored.runs[name].digest for name in sorted(scored.runs)),
        )
        place = run.ledger.folder("ablations", RISK_CODE, config.risk, config.seed, config.proxy.suffix_tokens, *inputs)
        ablated = stage.settle(*ablate_blocks(documents, copies.clusters, scored.document_signals, copies.spans, proxies, place, config))
        ablations = store.read_frame(ablated)
        predictions = collect_predictions(SINK_SCORES.check(store.read_frame(scored.scores)), ablations)
        return freeze(run, config, copies, scored, corpus, predictions, ablations, planned, folder)


@task(name="ablate blocks")
def ablate_blocks(
    documents: Artifact, clusters: Artifact, signals: Artifact, spans: Artifact, proxies: Evidence, folder: str, config: AuditConfig
) -> tuple[Artifact, bool]:
    """Fit the predictor again on each block of signals, to the proxies' labels."""

    def make(out: str) -> Artifact:
        frame = ablate_documents(
            lambda: (check_documents(part) for part in store.iter_arrow(documents)),
            CLUSTERS.check(store.read_frame(clusters)),
            proxies,
            DOCUMENT_SIGNALS.check(store.read_frame(signals)),
            config.risk,
            config.seed,
            REPEATED_SPANS.check(store.read_frame(spans)) if config.dedup.find_spans else None,
        )
        return store.publish_frame("ablations", out, frame)

    return once(folder, make)


def train_all(
    run: Run,
    pool: Executor,
    config: AuditConfig,
    corpus: TargetCorpus,
    halves: Sequence[Planned],
    arms: Sequence[Planned],
    only: Only | None,
) -> Trained:
    """Train what is asked for, label halves first, and return all that stands in the ledger then."""
    if only in (None, "labels"):
        train(run, pool, config, corpus, halves, "label halves")
    if only in (None, "arms"):
        train(run, pool, config, corpus, arms, "arms")
    found = {one.spec.name: artifact for one in (*halves, *arms) if (artifact := store.find(one.folder)) is not None}
    return Trained(*({one.spec.name: found[one.spec.name] for one in kind if one.spec.name in found} for kind in (halves, arms)))
