"""Tests of `pipeline.proxy.device` and `pipeline.proxy.driver`: what a GPU would run, on a CPU."""

from __future__ import annotations

import ast
from pathlib import Path

import polars as pl
import pytest
import torch

import pipeline.proxy
from pipeline.config import ProxyConfig
from pipeline.errors import ConfigError
from pipeline.proxy import device, driver
from pipeline.proxy.device import CPU, PASS_FACTOR, TOLERANCE, Device, find_device, open_device
from pipeline.proxy.training import ProxyRun, train_proxy
from tests.pipeline.proxy.conftest import Corpus

MAKERS = frozenset({"zeros", "ones", "full", "empty", "arange", "randn", "rand", "tensor", "eye"})
ON_CPU = frozenset({"shape.py", "transformer.py", "model.py", "finetuning.py"})
"""Files that build models, which move to their device whole."""


def run(corpus: Corpus, chosen: Device) -> ProxyRun:
    """Train the smallest full proxy on a device."""
    spec = next(spec for spec in corpus.specs if spec.name == "full-0")
    return train_proxy(spec, corpus.drawn.samples, corpus.splits, corpus.tokenizer.get_vocab_size(), corpus.config, device=chosen)


@pytest.fixture(scope="module")
def plain(corpus: Corpus) -> ProxyRun:
    """Return the run that every device is held to."""
    torch.set_num_threads(1)  # fixtures of a module come before those of a test
    return run(corpus, CPU)


def _difference(one: ProxyRun, other: ProxyRun, phase: str) -> float:
    joined = one.signals.filter(pl.col("phase") == phase).join(other.signals, on=["sample_id", "step", "phase"])
    return float((joined["loss"] - joined["loss_right"]).abs().to_numpy().mean())


def test_bfloat16_and_larger_passes_stay_within_the_tolerance(corpus: Corpus, plain: ProxyRun) -> None:
    """The path of a GPU, forced on a CPU: other bits, the same losses on average; signals and tables are whole."""
    forced = run(corpus, Device(torch.device("cpu"), is_bfloat16=True, pass_factor=PASS_FACTOR))
    assert 0.0 < _difference(plain, forced, "exposure") < TOLERANCE
    assert 0.0 < _difference(plain, forced, "probe") < TOLERANCE
    assert forced.proxies["num_steps"].to_list() == plain.proxies["num_steps"].to_list()
    assert forced.extractions["sample_id"].equals(plain.extractions["sample_id"])
    assert all(parameter.dtype == torch.float32 for parameter in forced.model.parameters())


def test_larger_passes_alone_change_no_more_than_rounding(corpus: Corpus, plain: ProxyRun) -> None:
    """Batches of training are those of the configuration on every device."""
    joined = run(corpus, Device(torch.device("cpu"), pass_factor=PASS_FACTOR))
    assert _difference(plain, joined, "exposure") == 0.0
    both = joined.signals.filter(pl.col("phase") == "probe").join(plain.signals, on=["sample_id", "step", "phase"])
    assert (both["grad_norm"] / both["grad_norm_right"] - 1).abs().max() < 1e-3  # type: ignore[operator]


def test_a_compiled_step_is_the_same_step(corpus: Corpus) -> None:
    """Through the compiler's front end, without its code generator, values and gradients are those of the plain model."""
    torch._dynamo.reset()
    spec = next(spec for spec in corpus.specs if spec.name == "full-0")
    model = run(corpus, CPU).model
    tokens = corpus.drawn.samples.filter(pl.col("num_tokens") == 32)["tokens"].head(4)
    batch = torch.tensor(tokens.to_list())
    results = []
    for chosen in (CPU, Device(torch.device("cpu"), compiler="eager")):
        hidden = chosen.training_pass(model)(batch)
        hidden.square().sum().backward()  # type: ignore[no-untyped-call]
        results.append([hidden.detach(), *(parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None)])
        model.zero_grad()
    assert spec.size == 0
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_hooked_models_are_never_compiled() -> None:
    """Their values change from batch to batch behind the compiler's back."""
    layer = torch.nn.Linear(2, 2)
    assert Device(torch.device("cpu"), compiler="eager").training_pass(layer, is_hooked=True) is layer


def test_the_device_is_cpu_unless_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto takes what there is, cpu never looks, cuda without a GPU says what is missing."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "has_gpu_driver", lambda: True)
    assert [find_device(ProxyConfig(device=name)) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    assert open_device(ProxyConfig(), 3) is CPU
    with pytest.raises(ConfigError, match=r"no GPU that torch can use; in proxy.device; .*set proxy.device to auto or cpu"):
        find_device(ProxyConfig(device="cuda"))


def test_gpus_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two GPUs runs of odd and even number part; there they use bfloat16, the compiler and larger passes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device, "has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    found = [open_device(ProxyConfig(), number) for number in (4, 5)]
    assert [str(one.place) for one in found] == ["cuda:0", "cuda:1"]
    assert all(one.is_bfloat16 and one.compiler == "inductor" and one.pass_factor > 1 and one.has_clock_of_its_own for one in found)
    assert find_device(ProxyConfig(device="cpu")) == "cpu"


def test_no_driver_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver is a library that can be opened."""
    driver.has_gpu_driver.cache_clear()
    monkeypatch.setattr(driver, "LIBRARIES", ("libno-such-driver.so.1",))
    assert not driver.has_gpu_driver()
    driver.has_gpu_driver.cache_clear()
    monkeypatch.setattr(driver, "LIBRARIES", ("libno-such-driver.so.1", "libc.so.6"))
    assert driver.has_gpu_driver()
    driver.has_gpu_driver.cache_clear()


def test_every_tensor_that_a_step_makes_says_where() -> None:
    """A tensor made without a device would stay on the CPU, and an array taken from one that is not there would fail."""
    faults = []
    for path in sorted(Path(pipeline.proxy.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())) if path.name not in ON_CPU else ():
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner, name = ast.unparse(node.func.value), node.func.attr
            if owner == "torch" and name in MAKERS and "device" not in {keyword.arg for keyword in node.keywords}:
                faults.append(f"{path.name}:{node.lineno} torch.{name}")
            if name == "numpy" and not node.args and "cpu()" not in owner and _is_tensor(owner):
                faults.append(f"{path.name}:{node.lineno} {owner}.numpy()")
    assert not faults


def _is_tensor(owner: str) -> bool:
    """Tell a tensor's `.numpy()` from that of a polars generator: ours are only ever called on these."""
    return "to_" not in owner
