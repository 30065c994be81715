"""Estimate an audit: read at most a few files whole, extrapolate, and let `pipeline.planning` do the arithmetic. Changes nothing."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
import torch

from pipeline.config import AuditConfig, InputConfig
from pipeline.corpus.columns import guess_columns
from pipeline.corpus.documents import open_corpus
from pipeline.corpus.listing import find_files
from pipeline.pace import measure_pace
from pipeline.planning import ProxyCost, Size, plan_audit
from pipeline.proxy.finetuning import ladder_configs
from pipeline.proxy.model import ProxyModel, count_flops
from pipeline.proxy.splits import WHOLE, plan_proxies

MAX_SAMPLED_FILES = 8
TRAINING_PASSES = 3  # one forward, two backward


def estimate(config: AuditConfig) -> dict[str, Any]:
    """Return the plan of an audit as JSON values.

    Raises: InputError when the input cannot be read, or a base that proxies are to start from.
    """
    described = ladder_configs(config.proxy, config.proxy.vocab_size)
    with torch.device("meta"):
        forward = {size: count_flops(ProxyModel(values), config.proxy.context) for size, values in enumerate(described)}
    specs = plan_proxies(config.proxy, config.seed)
    proxies = [
        ProxyCost(1, TRAINING_PASSES * forward[spec.size], 1.0 if spec.role in WHOLE else 0.5, spec.role == "full") for spec in specs
    ]
    return plan_audit(measure(config.input), proxies, forward[0], config, measure_pace()).as_dict()


def measure(config: InputConfig) -> Size:
    """Return the corpus's size, extrapolated by bytes from every n-th file if there are more than a few."""
    if config.dataset is not None:
        rows, text = _count(config)
        return Size(1, 0, rows, text, False)
    files = find_files(config)
    step = -(-len(files) // MAX_SAMPLED_FILES) if len({file.format for file in files}) == 1 and files[0].format != "text" else 1
    sampled = files[::step]
    rows, text = _count(config.model_copy(update={"paths": tuple(file.path for file in sampled), "files": ()}))
    total, seen = sum(file.num_bytes for file in files), max(1, sum(file.num_bytes for file in sampled))
    return Size(len(files), total, round(rows * total / seen), round(text * total / seen), step > 1)


def _count(config: InputConfig) -> tuple[int, int]:
    corpus = open_corpus(config)
    column = guess_columns(corpus.schema, config).text
    rows = text = 0
    for batch in corpus.batches():
        rows += batch.rows.num_rows
        text += pc.sum(pc.binary_length(batch.rows.column(column))).as_py() or 0
    return rows, text


def plan_text(plan: dict[str, Any]) -> str:
    """Return a plan as lines for a terminal."""
    size, seconds, copies = plan["size"], plan["seconds"], plan["deduplication"]
    about = "about " if size["is_sampled"] else ""
    return "\n".join(
        (
            f"corpus: {about}{size['num_rows']:,} rows, {about}{_bytes(size['text_bytes'])} of text in {size['num_files']:,} file(s)",
            f"time: about {_minutes(sum(seconds.values()))} ({', '.join(f'{name} {_minutes(value)}' for name, value in seconds.items())})",
            f"machine: takes {plan['pace']:.2f} times the CPU seconds of the one that these rates were measured on",
            f"memory: about {_bytes(plan['memory_bytes'])} at the peak, all processes together",
            f"disk: about {_bytes(plan['disk_bytes'])} (ledger and filtered data)",
            f"deduplication alone: about {_minutes(sum(copies['seconds'].values()))}, {_bytes(copies['memory_bytes'])} of memory, "
            f"{_bytes(copies['disk_bytes'])} of disk",
            f"proxies: {plan['num_proxies']} runs, {plan['num_token_visits']:,} token visits, {plan['proxy_flops']:.2e} FLOPs",
        )
    )


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
