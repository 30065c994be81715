"""The deployments of a corpus: nightly what is new, weekly all of it, on demand whatever is asked; every setting spelled out.

`sinkaudit deployments CONFIG...` writes them as a prefect.yaml for a work pool, `sinkaudit serve CONFIG` serves them from one process.
What runs at night is what the parameters say: a default that a later version changes does not change a deployment.

All deployments of a corpus share one ledger and so take turns. In a work pool they share a queue that runs one at a time; a process that
serves them runs one at a time. A run that comes while one of its own kind is under way is cancelled: the next finds what it would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pipeline.config import AuditConfig

ENTRYPOINT = "flows/audit.py:audit"
POOL = "audits"
NIGHTLY, WEEKLY = "0 3 * * *", "0 12 * * 0"
LIMIT = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
PURPOSES = {
    "nightly": "Audit the files that are new since the last audit, compared with all before; nothing new, nothing done.",
    "weekly": "Audit the whole corpus afresh; the nights after it go on from here.",
    "on-demand": "Audit the whole corpus when asked.",
}
HEAD = """\
# Written by: sinkaudit deployments {configs} -o {output}
# Deploy with: prefect deploy --all --prefect-file {output}   (from the folder that holds pyproject.toml; see flows/WALKTHROUGH.md)
# Every setting is spelled out, so that what runs at night is what stands here; change the configuration and write this file again.
"""


def describe_deployments(config: AuditConfig, cron: str = NIGHTLY) -> list[dict[str, Any]]:
    """Return the deployments of a corpus as entries of a prefect.yaml; cron, in UTC, is the nightly one's.

    A dataset of a hub is read whole at night, too: unchanged, it is found finished.
    """
    whole = config.model_copy(update={"input": config.input.model_copy(update={"new_only": False})})
    new = config.model_copy(update={"input": config.input.model_copy(update={"new_only": config.input.dataset is None})})
    runs = {"nightly": (new, cron), "weekly": (whole, WEEKLY), "on-demand": (whole, None)}
    return [
        {
            "name": f"{config.name}-{kind}",
            "description": PURPOSES[kind],
            "entrypoint": ENTRYPOINT,
            "parameters": {"config": settings.model_dump(mode="json"), "quiet": True},
            "work_pool": {"name": POOL, "work_queue_name": config.name},
            "concurrency_limit": dict(LIMIT),
            "schedules": [{"cron": when, "timezone": "UTC", "active": True}] if when is not None else [],
        }
        for kind, (settings, when) in runs.items()
    ]


def render_deployments(configs: Mapping[str, AuditConfig], output: str) -> str:
    """Return a prefect.yaml with the deployments of some configurations, by the file that each came from."""
    every = [entry for config in configs.values() for entry in describe_deployments(config)]
    head = HEAD.format(configs=" ".join(configs), output=output)
    body = yaml.dump({"name": "sinkaudit", "deployments": _shared(every)}, Dumper=_Dumper, sort_keys=False, width=120)
    return head + body


def _shared(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries with equal sections of settings made one object, which YAML writes once and refers to by name."""
    known: dict[str, Any] = {}
    for entry in entries:
        config = entry["parameters"]["config"]
        for section, values in config.items():
            if isinstance(values, dict):
                config[section] = known.setdefault(repr((section, values)), values)
    return list(entries)


class _Dumper(yaml.SafeDumper):
    """Write lists on one line where they hold plain values."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        is_plain = not any(isinstance(item, dict | list) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=is_plain or flow_style)
