"""The code in the card runs on the release that it comes with, and does what it says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import log_softmax

from pipeline.release.filtering import EXTRA_TYPES, FilteredData
from pipeline.release.shards import write_shards
from pipeline.release.usage import show_use

TEXTS = ["Zürich one two", "three four 終わり", "five six seven"]
MASKS: list[list[dict[str, int]]] = [[{"start": 8, "end": 11}], [], []]


def _release(folder: Path) -> FilteredData:
    spans = pa.array(MASKS, EXTRA_TYPES["sink_mask_spans"])
    table = pa.table({"body": TEXTS, "sink_weight": [1.0, 0.25, 0.5], "sink_mask_spans": spans})
    shards = write_shards(str(folder), table.schema, [(table, np.ones(3, np.int64))], 3, 2)
    return FilteredData(str(folder), shards, tuple(table.schema.names), schema=table.schema)


def _run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run every block of the card in turn, as one reads it, with the folder's name put in."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder / "cache"))
    words: dict[str, int] = {}

    def tokenizer(text: str, return_offsets_mapping: bool) -> dict[str, Any]:
        assert return_offsets_mapping
        found = list(re.finditer(r"\w+", text))
        return {
            "input_ids": [words.setdefault(match[0], len(words)) for match in found],
            "offset_mapping": [match.span() for match in found],
        }

    text = "\n\n".join(show_use(_release(folder), "body")).replace("THIS_FOLDER", str(folder))
    space: dict[str, Any] = {"tokenizer": tokenizer}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, space)  # what trainers copy
    return space


def test_the_whole_recipe_runs_and_leaves_masked_tokens_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load, weights, labels: bytes 8 to 11 of the first row are its second word."""
    space = _run(tmp_path, monkeypatch)
    assert space["rows"]["body"][:] == TEXTS
    assert space["weights"].tolist() == [1.0, 0.25, 0.5]
    assert space["labels"] == [0, -100, 2]


def test_the_weighted_loss_is_each_rows_mean_times_its_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a plain loop: next-token loss, -100 left out, divided by rows and not by the sum of weights."""
    weighted_loss = _run(tmp_path, monkeypatch)["weighted_loss"]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    labels = torch.randint(0, 7, (3, 5), generator=generator)
    labels[0, 2:] = -100
    labels[2, 1:] = -100  # nothing left to predict
    weights = torch.tensor([1.0, 0.25, 0.5])
    wanted = 0.0
    for row in range(3):
        losses = [-float(log_softmax(logits[row, at], -1)[labels[row, at + 1]]) for at in range(4) if labels[row, at + 1] != -100]
        wanted += float(weights[row]) * (sum(losses) / len(losses) if losses else 0.0)
    assert float(weighted_loss(logits, labels, weights)) == pytest.approx(wanted / 3, rel=1e-5)
    alone = [float(weighted_loss(logits[1:2], labels[1:2], weight)) for weight in (torch.tensor([0.25]), torch.tensor([1.0]))]
    assert alone[0] == pytest.approx(alone[1] / 4)


def test_sinks_of_the_card_are_those_of_the_proxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the identifiers of a release come the masks that a MemSinks proxy uses, and hooks that act on a model of transformers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import LlamaConfig, LlamaForCausalLM
    from pipeline.proxy.memsinks import SinkGate, sink_mask, sink_masks

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    ids = [bytes([number]) * 16 for number in range(3)]
    table = pa.table({"body": TEXTS, "sink_cluster_id": [one.hex() for one in ids]})
    shards = write_shards(str(tmp_path), table.schema, [(table, np.ones(3, np.int64))], 3, 2)
    filtered = FilteredData(str(tmp_path), shards, tuple(table.schema.names), schema=table.schema)
    settings = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 40, "vocab_size": 30}
    model = LlamaForCausalLM(LlamaConfig(**settings, bos_token_id=None, eos_token_id=None)).eval()
    space: dict[str, Any] = {"model": model}
    text = "\n\n".join(show_use(filtered, "body")).replace("THIS_FOLDER", str(tmp_path))
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, space)  # what trainers copy
    assert all(np.array_equal(space["sink_mask"](one.hex(), 40), sink_mask(one, 40)) for one in ids)
    tokens = torch.arange(18).reshape(3, 6)
    with torch.no_grad():
        shown = model(tokens).logits
        for hook in space["hooks"]:
            hook.remove()
        before = model(tokens).logits
        with SinkGate(model) as gate:
            gate.show(sink_masks(ids, gate.width))
            assert torch.equal(model(tokens).logits, shown)
    assert not torch.equal(shown, before)


def test_only_what_a_release_has_is_shown(tmp_path: Path) -> None:
    """Without weights and masks the card says how to load, and no more."""
    text = "\n".join(show_use(FilteredData(str(tmp_path), (), ("text",)), "text"))
    assert "load_dataset" in text
    assert "sink_weight" not in text
    assert "loss_mask" not in text
