"""Gather what targets did, have it judged beside the frozen predictions, and write the record: small files, no weights, no text."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from flows.arms import CURVE, STEPS, PlannedArm
from flows.frozen import ABLATIONS, PREDICTIONS, Frozen
from flows.score import Scored
from flows.targets import Planned, TargetCorpus, gather
from flows.work import reading_passes
from pipeline import store
from pipeline.config import AuditConfig, ProxyConfig
from pipeline.places import locate
from pipeline.proof.inputs import ARM_CLUSTERS, ARM_RUNS, DROP_CURVE, Arms, ProofInputs
from pipeline.proof.inputs import CLUSTERS as PROOF_CLUSTERS
from pipeline.proof.labels import TargetLabels, label_targets
from pipeline.proof.results import judge
from pipeline.proxy.target_samples import target_config
from pipeline.proxy.targets import EARLY_SHARE
from pipeline.report.validation import render_validation, render_validations, validation_entry
from pipeline.risk.ablation import RIVAL
from pipeline.risk.evidence import Evidence
from pipeline.store import Artifact
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, PROXY_SPLITS, SAMPLES

DECIMALS = 4
WHOLE = f"raw-{STEPS}"
"""How the names of runs on the whole corpus begin."""


@dataclass(frozen=True)
class Trained:
    """Hold the runs that stand in the ledger, by name."""

    halves: Mapping[str, Artifact]
    arms: Mapping[str, Artifact]

    def has_pair(self) -> bool:
        """Say whether both sides of a pair are there, so that something can be judged."""
        return any({f"{name[:-1]}a", f"{name[:-1]}b"} <= self.halves.keys() for name in self.halves)


def judge_targets(
    config: AuditConfig,
    scored: Scored,
    corpus: TargetCorpus,
    proxies: Evidence,
    frozen: Frozen,
    halves: Sequence[Planned],
    arms: Sequence[PlannedArm],
    trained: Trained,
    folder: str,
) -> dict[str, Any]:
    """Judge the frozen predictions by the trained targets and write labels, runs and arms beside them; return what was found."""
    target = target_evidence(config, corpus, halves, trained.halves)
    clusters = store.read_frame(corpus.clusters).select(list(PROOF_CLUSTERS))
    measured = measure_arms(corpus, target, arms, trained.arms)
    runs = gather({**trained.halves, **trained.arms}, [*halves, *(arm.planned for arm in arms)], "proxies")
    predictions = read_table(folder, PREDICTIONS)
    ablations = read_table(folder, ABLATIONS).filter(pl.col("block") != RIVAL)
    flops = count_flops(proxies, scored, runs, config.proxy)
    values = judge(
        ProofInputs(
            clusters=clusters,
            predictions=with_early_look(predictions, corpus, arms, trained.arms, whole_targets(runs)["proxy"].to_list()),
            target=target,
            settings=config.risk,
            seed=config.validation.seed,
            proxy=proxies,
            ablations=ablations if ablations.height else None,
            arms=measured,
            flops=flops,
            total_parameters=total_parameters(config, proxies, runs, corpus.vocab_size),
            planned_parameters=config.risk.target_parameters,
            planted_sources=config.validation.planted_sources,
            proxy_evaluation=scored.scores.facts["evaluation"],
        )
    )
    record_bytes = write_tables(folder, store.read_frame(corpus.clusters), label_targets(target, config.risk), runs, target, measured)
    return {
        **values,
        "order": describe_order(frozen),
        "efficiency": efficiency(proxies, runs, flops),
        "corpus": describe_corpus(corpus),
        "interval": config.risk.interval,
        "null_quantile": config.risk.null_quantile,
        "settings": {"audit_seed": config.seed, **frozen.entry["validation"]},
        "trained": {
            "label_halves": len(trained.halves),
            "planned_label_halves": len(halves),
            "arm_runs": len(trained.arms),
            "planned_arm_runs": len(arms),
        },
        "scored_for": {"parameters": config.risk.target_parameters, "target": target.num_parameters(0)},
        "record_bytes": record_bytes,
        "limits": limits(config, trained, halves, arms),
    }


def target_evidence(config: AuditConfig, corpus: TargetCorpus, halves: Sequence[Planned], runs: Mapping[str, Artifact]) -> Evidence:
    """Read the label halves; windows whose suffix another unit holds are not among their samples, so no label is taken from them."""
    samples = store.read_frame(corpus.samples).join(store.read_frame(corpus.shared), on="window_id", how="anti")
    tables = {name: gather(runs, halves, name) for name in ("proxies", "proxy_signals", "extractions")}
    splits = store.read_frame(corpus.splits).filter(pl.col("proxy").is_in(list(runs)))
    return Evidence(
        SAMPLES.check(samples.sort("sample_id")),
        PROXY_SPLITS.check(splits),
        PROXIES.check(tables["proxies"]),
        PROXY_SIGNALS.check(tables["proxy_signals"]),
        EXTRACTIONS.check(tables["extractions"]),
        config.proxy.suffix_tokens,
    )


def measure_arms(corpus: TargetCorpus, target: Evidence, arms: Sequence[PlannedArm], runs: Mapping[str, Artifact]) -> Arms | None:
    """Return what the arms that are trained did to every cluster of the raw corpus; None where there is none."""
    done = [arm for arm in arms if arm.planned.spec.name in runs]
    if not done:
        return None
    proxies = {row["proxy"]: row for row in gather(runs, [arm.planned for arm in done], "proxies").iter_rows(named=True)}
    documents = store.read_frame(corpus.samples, ["doc_id", "cluster_id"]).unique()
    results = {arm.planned.spec.name: by_cluster(target.samples, runs[arm.planned.spec.name]) for arm in done}
    outside = unseen_losses(target)
    rows, clusters, curve = [], [], []
    for arm in done:
        row, found = proxies[arm.planned.spec.name], results[arm.planned.spec.name]
        if arm.kind == CURVE:
            gains = found.join(outside, on="cluster_id").select("num_tokens", gain=pl.col("unseen_loss") - pl.col("loss"))
            by_tokens = gains.select(pl.col("gain").dot("num_tokens") / pl.col("num_tokens").sum()).item()
            curve.append((arm.arm, arm.seed, arm.scope, arm.share, row["held_out_loss"], gains["gain"].mean(), by_tokens))
            continue
        kept = documents.filter(pl.col("doc_id").is_in(arm.doc_ids.implode()))["cluster_id"].unique()
        emission = runs[arm.planned.spec.name].facts["emission"]
        rows.append((arm.arm, arm.seed, arm.kind, arm.planned.num_tokens, row["training_flops"], row["held_out_loss"], emission))
        marked = found.with_columns(
            arm=pl.lit(arm.arm),
            seed=pl.lit(arm.seed, pl.Int64),
            kind=pl.lit(arm.kind),
            is_kept=pl.col("cluster_id").is_in(kept.implode()),
        )
        clusters.append(marked.select(list(ARM_CLUSTERS)))
    return Arms(
        pl.DataFrame(rows, schema=dict(ARM_RUNS), orient="row"),
        pl.concat([pl.DataFrame(schema=dict(ARM_CLUSTERS)), *clusters]),
        pl.DataFrame(curve, schema=dict(DROP_CURVE), orient="row") if curve else None,
    )


def by_cluster(samples: pl.DataFrame, run: Artifact) -> pl.DataFrame:
    """Return cluster_id; recall (null where no suffix fits) and loss, means over its distinct windows at the end of the run; num_tokens."""
    windows = samples.select("cluster_id", "window_id", "num_tokens").unique()
    signals, extractions = (read_table(run.folder, name) for name in ("proxy_signals", "extractions"))
    last = signals.filter(pl.col("step") == pl.col("step").max()).select("loss", window_id="sample_id")
    scores = extractions.select("memorization_score", window_id="sample_id")
    joined = windows.join(last, on="window_id").join(scores, on="window_id", how="left").sort("cluster_id", "window_id")
    return joined.group_by("cluster_id", maintain_order=True).agg(
        recall=pl.col("memorization_score").cast(pl.Float64).mean(),
        loss=pl.col("loss").cast(pl.Float64).mean(),
        num_tokens=pl.col("num_tokens").cast(pl.Float64).sum(),
    )


def unseen_losses(target: Evidence) -> pl.DataFrame:
    """Return cluster_id and the mean loss under the label halves that did not train on it, nats per token."""
    size = max(target.sizes("label_half"), default=-1)
    outside = target.probes("label_half", size).filter(~pl.col("in_training"))
    by_model = outside.group_by("cluster_id", "proxy").agg(pl.col("loss").cast(pl.Float64).mean())
    return by_model.group_by("cluster_id").agg(unseen_loss=pl.col("loss").mean()).sort("cluster_id")


def with_early_look(
    predictions: pl.DataFrame, corpus: TargetCorpus, arms: Sequence[PlannedArm], runs: Mapping[str, Artifact], whole: Sequence[str]
) -> pl.DataFrame:
    """Add `partial_target`, minus the loss at the early look of the one full run that takes it, if that run is trained and a target's."""
    looked = [arm for arm in arms if arm.planned.spec.has_early_look and arm.planned.spec.name in whole]
    if not looked:
        return predictions
    signals = read_table(runs[looked[0].planned.spec.name].folder, "proxy_signals")
    early = signals.filter(pl.col("step") == pl.col("step").min()).select("loss", window_id="sample_id")
    windows = store.read_frame(corpus.samples, ["cluster_id", "window_id"]).unique()
    means = windows.join(early, on="window_id").sort("cluster_id", "window_id").group_by("cluster_id", maintain_order=True)
    return predictions.join(means.agg(partial_target=-pl.col("loss").cast(pl.Float64).mean()), on="cluster_id", how="left")


def whole_targets(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the runs on the whole corpus that are as large as the label halves, if there are such: arms may be smaller models."""
    whole, halves = runs.filter(pl.col("proxy").str.starts_with(WHOLE)), runs.filter(pl.col("role") == "label_half")
    return whole.filter(pl.col("num_parameters") == halves["num_parameters"].max()) if halves.height else whole


def count_flops(proxies: Evidence, scored: Scored, runs: pl.DataFrame, config: ProxyConfig) -> dict[str, float]:
    """Return floating-point operations: of one target on the whole corpus, of all proxy work, and of baselines by name.

    The reference pass reads each scored token once at the smallest size, forward, and backward where it takes gradients.
    """
    full, halves = whole_targets(runs), runs.filter(pl.col("role") == "label_half")
    target = _mean(full["training_flops"]) if full.height else 2.0 * _mean(halves["training_flops"])
    smallest = proxies.proxies.filter(pl.col("size") == pl.col("size").min())
    a_token = _mean(smallest["training_flops"] / smallest["num_token_visits"]) / 3.0 * reading_passes(config)
    read = a_token * float(store.read_frame(scored.document_signals, ["num_scored_tokens"])["num_scored_tokens"].sum())
    work = float((proxies.proxies["training_flops"] + proxies.proxies["signal_flops"]).sum())
    largest = proxies.proxies.filter((pl.col("role") == "full") & (pl.col("size") == pl.col("size").max()))
    one = float((largest["training_flops"] + largest["signal_flops"]).sum())
    free = dict.fromkeys(("copies", "fuzzy_mass", "length", "zlib", "random", "corpus"), 0.0)
    of_one = dict.fromkeys(("loss", "-loss", "loss/zlib", "min_k++", "small-model-extractable", "LT-IQR", "rival", "+ forward"), one)
    ours = dict.fromkeys(("sink_score", "predicted_gain", "signal_score"), work + read)
    return {"target": target, "proxies": work + read, "partial target run": EARLY_SHARE * target, **free, **of_one, **ours}


def efficiency(proxies: Evidence, runs: pl.DataFrame, flops: Mapping[str, float]) -> dict[str, Any]:
    """Return what the prediction cost beside one target: FLOPs, token visits of the busiest proxy, non-embedding parameters."""
    full, halves = whole_targets(runs), runs.filter(pl.col("role") == "label_half")
    visits = _mean(full["num_token_visits"]) if full.height else 2.0 * _mean(halves["num_token_visits"])
    most = int(proxies.proxies["num_token_visits"].max())  # type: ignore[arg-type]
    largest = int(proxies.proxies["num_parameters"].max())  # type: ignore[arg-type]
    size = int(runs["num_parameters"].max())  # type: ignore[arg-type]
    return {
        "target_flops": flops["target"],
        "proxy_flops": flops["proxies"],
        "flops_share": flops["proxies"] / flops["target"],
        "is_target_measured": bool(full.height),
        "target_token_visits": visits,
        "largest_proxy_token_visits": most,
        "token_visit_share": most / visits,
        "target_parameters": size,
        "largest_proxy_parameters": largest,
        "size_gap": size / largest,
    }


def _mean(values: pl.Series) -> float:
    return float(values.cast(pl.Float64).to_numpy().mean())


def total_parameters(config: AuditConfig, proxies: Evidence, runs: pl.DataFrame, vocab_size: int) -> dict[str, int]:
    """Return each run's parameters with its embedding and output matrix."""
    section, sizes = config.validation, dict(proxies.proxies.select("proxy", "size").iter_rows())
    own = {name: width_of(config.proxy, config.proxy.ladder[size], vocab_size) for name, size in sizes.items()}
    dials = {"label_half": section.dial, "full": section.arm_dial or section.dial}
    settings = target_config(config.proxy, section, section.dial)
    own |= {name: width_of(settings, dials[role], vocab_size) for name, role in runs.select("proxy", "role").iter_rows()}
    bodies = dict(proxies.proxies.select("proxy", "num_parameters").iter_rows()) | dict(runs.select("proxy", "num_parameters").iter_rows())
    return {name: int(bodies[name] + 2 * vocab_size * width) for name, width in own.items()}


def width_of(config: ProxyConfig, dial: float, vocab_size: int) -> int:
    """Return the width of a model behind a dial."""
    from pipeline.proxy.model import plan_config

    return int(plan_config(config, dial, vocab_size)["hidden_size"])


def describe_corpus(corpus: TargetCorpus) -> dict[str, Any]:
    """Count clusters, units, what is held out and what cannot be judged."""
    clusters, samples = store.read_frame(corpus.clusters), store.read_frame(corpus.samples, ["cluster_id", "window_id"])
    shared = store.read_frame(corpus.shared)
    judged = samples.join(shared, on="window_id", how="anti")["cluster_id"].unique()
    return {
        "num_tokens": int(clusters["num_tokens"].sum()),
        "num_documents": int(clusters["copies"].sum()),
        "num_clusters": clusters.height,
        "num_natural_clusters": int(clusters["is_natural"].sum()),
        "num_units": clusters["unit_id"].n_unique(),
        "num_held_out_clusters": int(clusters["is_held_out"].sum()),
        "num_unseen_clusters": int(clusters["is_unseen"].sum()),
        "num_validation_windows": len(corpus.validation),
        "num_windows": samples["window_id"].n_unique(),
        "num_shared_windows": shared.height,
        "num_not_identifiable_clusters": clusters.height - len(judged),
    }


def describe_order(frozen: Frozen) -> dict[str, Any]:
    """Say which came first, predictions or targets."""
    targets = frozen.entry["targets"]
    return {
        "frozen": frozen.entry["time"],
        "predictions": frozen.entry["digests"][PREDICTIONS],
        "number": frozen.number,
        "predictions_came_first": frozen.came_first,
        "num_trained_before": len(targets["trained"]),
        "num_begun_before": len(targets["begun"]),
        "run": frozen.entry["run"],
        "digests": frozen.entry["digests"],
        "code_versions": frozen.entry["code_versions"],
    }


def limits(config: AuditConfig, trained: Trained, halves: Sequence[Planned], arms: Sequence[PlannedArm]) -> list[str]:
    """Say in sentences what this validation cannot tell."""
    section = config.validation
    said = [
        f"Clusters are in or out together if {section.span_tokens} tokens in a row are common to them, up to units of "
        f"{section.max_group_share:.0%} of all tokens; what larger groups share is left out of labels where a whole suffix is shared.",
        "Held-out text is apart from training at a Jaccard similarity of 0.5 on 5-grams of tokens, copies of a cluster taken together.",
        "Emission: the share of sampled tokens that stand in a run of 50 out of the raw corpus, over 512 samples a run.",
    ]
    if section.arm_dial not in (None, section.dial):
        said.append(
            f"Arms train models of dial {section.arm_dial:g}, labels come from models of dial {section.dial:g}: what text is recited "
            "without having been seen is taken from the latter."
        )
    if missing := len(halves) - len(trained.halves):
        said.append(f"{missing} of {len(halves)} label halves are not trained yet.")
    if missing := len(arms) - len(trained.arms):
        said.append(f"{missing} of {len(arms)} runs of the arms are not trained yet.")
    if section.num_halves < 8:
        said.append("Fewer than 8 label halves: labels are too noisy for a result of record.")
    return said


def write_tables(folder: str, clusters: pl.DataFrame, labels: TargetLabels, runs: pl.DataFrame, target: Evidence, arms: Arms | None) -> int:
    """Write clusters, labels, runs, the halves' outcome on each window, and the arms; return how many bytes the tables take.

    `cluster` in the larger tables is a row of `clusters`, counted from 0.
    """
    numbers = clusters.sort("cluster_id").select("cluster_id", cluster=pl.int_range(pl.len(), dtype=pl.Int32))
    units = clusters.sort("cluster_id").with_columns(unit=pl.col("unit_id").rank("dense").cast(pl.Int32) - 1).drop("unit_id")
    gains = pl.DataFrame(labels.pair_gains, schema=[f"gain_{pair}" for pair in range(labels.pair_gains.shape[1])])
    labelled = pl.concat([labels.frame, gains], how="horizontal").join(numbers, on="cluster_id").drop("cluster_id").sort("cluster")
    frames = {"clusters": units, "labels": labelled, "runs": runs, "windows": window_outcomes(target, numbers)}
    if arms is not None:
        frames |= {"arm_runs": arms.runs, "arm_clusters": packed(arms.clusters, numbers)}
        frames |= {"drop_curve": arms.drop_curve} if arms.drop_curve is not None else {}
    parts = [store.write_part(folder, name, frame.with_columns(pl.col(pl.Float64).round(DECIMALS))) for name, frame in frames.items()]
    return sum(part.num_bytes for part in parts)


def window_outcomes(target: Evidence, numbers: pl.DataFrame) -> pl.DataFrame:
    """Return, of each distinct window that is judged, the loss and the log-probability of its suffix under each half, in hundredths."""
    losses = pl.DataFrame(target.signals).pivot("proxy", index="sample_id", values="loss")
    suffixes = pl.DataFrame(target.extractions).pivot("proxy", index="sample_id", values="suffix_log_prob")
    windows = (
        pl.DataFrame(target.samples).filter(pl.col("sample_id") == pl.col("window_id")).select("sample_id", "num_tokens", "cluster_id")
    )
    joined = windows.join(numbers, on="cluster_id").drop("cluster_id").join(losses, on="sample_id")
    wide = joined.join(suffixes, on="sample_id", how="left", suffix=" suffix").sort("cluster", "sample_id")
    return wide.drop("sample_id").with_columns((pl.col(pl.Float32) * 100).round().cast(pl.Int32))


def packed(results: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """Return the arms' results with a cluster's number for its id, recall and loss in thousandths."""
    thousandths = (pl.col("recall", "loss") * 1000).round().cast(pl.Int32)
    return results.with_columns(thousandths).join(numbers, on="cluster_id").drop("cluster_id").sort("arm", "kind", "seed", "cluster")


def read_table(folder: str, name: str) -> pl.DataFrame:
    """Read one table of a run's folder, or of what was frozen."""
    return pl.DataFrame(pl.from_arrow(store.read_arrow(f"{folder}/{name}.parquet")))


def write_results(values: Mapping[str, Any], command: str, folder: str) -> None:
    """Write results.json, its page, the command that repeats it, and the list of all validations anew."""
    store.write_bytes(f"{folder}/results.json", (json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    store.write_bytes(f"{folder}/commands", f"{command}\n".encode())
    write_page(folder)
    write_list(folder.rpartition("/")[0])


def write_page(folder: str) -> None:
    """Draw the page of a validation from its results.json and commands."""
    values, command = json.loads(store.read_bytes(f"{folder}/results.json")), store.read_bytes(f"{folder}/commands").decode().strip()
    store.write_bytes(f"{folder}/index.html", render_validation(folder.rpartition("/")[2], values, command).encode())


def write_list(folder: str) -> None:
    """Draw the page that lists the validations in a folder, in the order of their names."""
    filesystem, plain = locate(folder)
    names = sorted(path.split("/")[-2] for path in filesystem.glob(f"{plain}/*/results.json"))
    found = ((name, json.loads(store.read_bytes(f"{folder}/{name}/results.json"))) for name in names)
    entries = [validation_entry(name, values, f"{name}/index.html") for name, values in found]
    store.write_bytes(f"{folder}/index.html", render_validations(entries).encode())
