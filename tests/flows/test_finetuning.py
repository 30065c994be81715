"""An audit of a fine-tuning corpus: proxies start from a base on disk, one with memorization sinks among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from flows.audit import RunResult, run_audit
from flows.plan import estimate
from pipeline.config import AuditConfig, ProxyConfig, parse_config
from pipeline.errors import InputError
from pipeline.proxy.memsinks import sink_mask
from pipeline.proxy.model import ProxyModel, build_model, load_checkpoint, save_checkpoint
from pipeline.proxy.tokenizer import serialise_tokenizer, train_tokenizer


def _write_base(folder: Path, texts: pl.Series) -> Path:
    """Write a base of three layers with its tokenizer, as a checkpoint of any origin would lie there."""
    folder.mkdir()
    tokenizer = train_tokenizer(texts, ProxyConfig(vocab_size=300))
    model = build_model(ProxyConfig(architecture="llama"), 3, tokenizer.get_vocab_size(), torch.Generator().manual_seed(1))
    for name, data in zip(("model.safetensors", "config.json"), save_checkpoint(model), strict=True):
        (folder / name).write_bytes(data)
    (folder / "tokenizer.json").write_bytes(serialise_tokenizer(tokenizer))
    return folder


@pytest.fixture(scope="module")
def tuned(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, RunResult]:
    """Audit eighty short texts, some repeated."""
    folder = tmp_path_factory.mktemp("tuned")
    corpus = pl.concat(pl.read_parquet(path) for path in sorted(Path("data/samples/corpus").glob("*.parquet")))
    few = corpus.filter(pl.col("text").str.len_bytes().is_between(200, 800)).sort("id").sample(80, seed=1).select("id", "text", "source")
    copies = pl.concat([few.head(8).with_columns(id=pl.col("id") + f"-{copy}") for copy in range(5)])
    pl.concat([few, copies]).write_parquet(folder / "corpus.parquet")
    small = {"context": 32, "prompt_tokens": 8, "suffix_tokens": 8, "token_budget": 3000, "ladder": [1, 2, 3], "epochs": 1}
    config = parse_config(
        {
            "name": "tuned",
            "input": {"paths": [str(folder / "corpus.parquet")]},
            "dedup": {"num_plants": 0},
            "proxy": {**small, "max_scored_tokens": 32, "memsinks": True, "init_from": str(_write_base(folder / "base", few["text"]))},
            "risk": {"num_bootstrap": 10},
            "release": {"extra_columns": ["cluster_id"]},
            "runtime": {name: str(folder / name) for name in ("ledger", "filtered", "reports")},
        }
    )
    return config, run_audit(config, quiet=True)


def _summary(result: RunResult) -> dict[str, Any]:
    return dict(json.loads((Path(result.report).parent / "summary.json").read_text()))


def _load(folder: Path) -> ProxyModel:
    return load_checkpoint((folder / "model.safetensors").read_bytes(), (folder / "config.json").read_bytes())


def test_the_ladder_is_cut_from_the_base(tuned: tuple[AuditConfig, RunResult]) -> None:
    """One, two and three layers of one width and vocabulary, at the lower learning rate, still near the base after one epoch."""
    config, result = tuned
    assert config.proxy.learning_rate == 1e-4
    models = [_model(config, f"full-{size}") for size in range(3)]
    assert [model.shape.num_layers for model in models] == [1, 2, 3]
    assert {(model.shape.architecture, model.shape.width) for model in models} == {("llama", 64)}
    assert pl.read_parquet(Path(result.report).parent / "sink_scores.parquet").height == 120
    start = _load(Path(str(config.proxy.init_from)))
    moved = (models[2].embedding.weight - start.embedding.weight).detach().abs().max()
    assert 0 < float(moved) < 0.02


def _model(config: AuditConfig, name: str) -> ProxyModel:
    (folder,) = Path(config.runtime.ledger).glob(f"stages/proxies/*/{name}")
    return _load(folder)


def test_sinks_are_scored_and_localized(tuned: tuple[AuditConfig, RunResult]) -> None:
    """Scores carry both gaps for clusters in training, and the summary says what is recited with each mask."""
    _, result = tuned
    scores = pl.read_parquet(Path(result.report).parent / "sink_scores.parquet")
    assert scores["sink_gap"].is_not_null().any()
    assert scores["placebo_gap"].is_not_null().equals(scores["sink_gap"].is_not_null())
    strata = _summary(result)["sinks"]["evaluation"]["localization"]
    assert [row["stratum"] for row in strata] == ["copies 1", "copies 2-5", "copies 6-20", "copies over 20", "held out"]
    assert sum(row["num_clusters"] for row in strata) > 0
    assert "memsinks" in {row["role"] for row in _summary(result)["sinks"]["ladder"]}
    page = Path(result.report).read_text()
    assert all(words in page for words in ("Where recitation is kept", "with memorization sinks built in", "Share of the peak"))


def test_a_trainer_finds_its_masks_in_the_filtered_data(tuned: tuple[AuditConfig, RunResult]) -> None:
    """Every row has its cluster's id in hexadecimal, and the card's own code turns it into the mask that the proxy used."""
    _, result = tuned
    rows = pl.concat(pl.read_parquet(path) for path in sorted(Path(result.filtered).glob("data/*.parquet")))
    card = (Path(result.filtered) / "README.md").read_text()
    assert "`sink_cluster_id`" in card
    (code,) = (block.split("```")[0] for block in card.split("```python\n")[1:] if "def sink_mask" in block)
    names: dict[str, Any] = {}
    exec(code.split("\nhooks =")[0], names)
    for hexadecimal in rows["sink_cluster_id"].unique().to_list():
        assert np.array_equal(names["sink_mask"](hexadecimal, 256), sink_mask(bytes.fromhex(hexadecimal), 256))


def test_the_summary_says_what_proxies_work_cost(tuned: tuple[AuditConfig, RunResult]) -> None:
    """Operations, rates and the share of a measured peak, for training, signals and the one reading of every text."""
    stages = {stage["stage"]: stage for stage in _summary(tuned[1])["timing"]["stages"]}
    assert {name for name, stage in stages.items() if "work" in stage} == {"proxies", "reference"}
    assert stages["proxies"]["peak_flops_per_second"] == stages["reference"]["peak_flops_per_second"] > 1e8
    for work in (stages["proxies"]["work"]["training"], stages["proxies"]["work"]["signals"], stages["reference"]["work"]["reading"]):
        assert work["flops"] > 0
        assert 0 < work["share_of_peak"] < 2
    total = sum(work["flops"] for work in stages["proxies"]["work"].values())
    assert total == pytest.approx(_summary(tuned[1])["sinks"]["total_flops"], rel=1e-6)


def test_another_base_under_the_same_path_is_another_run(tuned: tuple[AuditConfig, RunResult]) -> None:
    """The base is part of what a run is made from; a broken one is refused before anything is read."""
    config, result = tuned
    assert run_audit(config, quiet=True) == result
    weights = Path(str(config.proxy.init_from)) / "model.safetensors"
    good = weights.read_bytes()
    try:
        weights.write_bytes(good[:1000])
        with pytest.raises(InputError, match=r"proxies cannot start from this base"):
            run_audit(config, quiet=True)
    finally:
        weights.write_bytes(good)


def test_the_plan_counts_the_bases_layers(tuned: tuple[AuditConfig, RunResult]) -> None:
    """Operations are those of the cut models, not of the dials' own."""
    config, _ = tuned
    ours = config.model_copy(update={"proxy": config.proxy.model_copy(update={"init_from": None, "vocab_size": 300})})
    assert estimate(config)["proxy_flops"] > 1.5 * estimate(ours)["proxy_flops"]
