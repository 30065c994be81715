"""What runs at night is what the deployments say: whole, valid, and nothing left to a default."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import is_valid_schema, validate
from pydantic import BaseModel

from flows.audit import audit
from flows.cli import cli
from flows.deployments import describe_deployments, render_deployments
from flows.serve import to_deployments
from pipeline.config import AuditConfig, load_config, parse_config
from pipeline.errors import ConfigError

SHIPPED = "flows/prefect.yaml"


def _entries() -> list[dict[str, Any]]:
    return list(yaml.safe_load(Path(SHIPPED).read_text())["deployments"])


def test_the_shipped_deployments_are_what_the_command_writes() -> None:
    """A setting that was added, or another default, has to be seen in the file: write it again with the command in its first line."""
    written = Path(SHIPPED).read_text()
    command = written.splitlines()[0].removeprefix("# Written by: sinkaudit ").split()
    assert command[0] in cli.commands
    configs, output = command[1 : command.index("-o")], command[-1]
    assert output == SHIPPED
    assert render_deployments({path: load_config(path) for path in configs}, output) == written


@pytest.mark.parametrize("entry", _entries(), ids=lambda entry: entry["name"])
def test_parameters_are_whole_and_valid(entry: dict[str, Any]) -> None:
    """They parse as our own model and through Prefect's schema of the flow, and no key of either is left out."""
    given = entry["parameters"]
    config = parse_config(given["config"], where=entry["name"])
    assert config.model_dump(mode="json") == given["config"]
    assert _missing(AuditConfig, given["config"]) == []
    schema = parameter_schema(audit).model_dump_for_openapi()
    is_valid_schema(schema)
    assert validate(given, schema, raise_on_error=True) == []
    assert given.keys() == schema["properties"].keys()
    assert validate({**given, "config": {**given["config"], "unknown": 1}}, schema) != []


def _missing(model: type[BaseModel], given: dict[str, Any], path: str = "") -> list[str]:
    """Return the settings of a model, and of the sections in it, that a mapping does not name."""
    missing = [f"{path}{name}" for name in model.model_fields if name not in given]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and name in given:
            missing += _missing(field.annotation, given[name], f"{path}{name}.")
    return missing


def test_a_setting_left_to_a_default_is_noticed() -> None:
    """Wherever it stands."""
    whole = _entries()[0]["parameters"]["config"]
    del whole["release"]["guards"]["bucket_cap"], whole["seed"]
    assert _missing(AuditConfig, whole) == ["seed", "release.guards.bucket_cap"]


def test_the_deployments_of_a_corpus_take_turns() -> None:
    """One at a time each, a second one cancelled; and one queue for all that share a ledger."""
    entries = _entries()
    assert {entry["name"] for entry in entries} == {"demo-nightly", "demo-weekly", "demo-on-demand"}
    assert all(entry["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"} for entry in entries)
    assert len({(entry["parameters"]["config"]["runtime"]["ledger"], entry["work_pool"]["work_queue_name"]) for entry in entries}) == 1
    new_only = {entry["name"]: entry["parameters"]["config"]["input"]["new_only"] for entry in entries}
    assert new_only == {"demo-nightly": True, "demo-weekly": False, "demo-on-demand": False}


def test_several_corpora_have_their_own_deployments() -> None:
    """Names, parameters and queues follow the configuration; a dataset of a hub is read whole at night, too."""
    one, two = load_config("flows/configs/demo.yaml"), parse_config({"name": "books", "input": {"dataset": "some/books"}})
    found = yaml.safe_load(render_deployments({"a.yaml": one, "b.yaml": two}, "out.yaml"))["deployments"]
    assert [entry["name"] for entry in found] == [
        f"{name}-{kind}" for name in ("demo", "books") for kind in ("nightly", "weekly", "on-demand")
    ]
    assert {(entry["name"].partition("-")[0], entry["work_pool"]["work_queue_name"]) for entry in found} == {
        ("demo", "demo"),
        ("books", "books"),
    }
    assert [parse_config(entry["parameters"]["config"]) for entry in found[1:3]] == [one, one]
    assert [parse_config(entry["parameters"]["config"]) for entry in found[3:]] == [two] * 3


def test_what_is_served_is_what_would_be_deployed() -> None:
    """The same names, schedules, limits and parameters; a schedule that is none is a usage error."""
    config = load_config("flows/configs/demo.yaml")
    served, described = to_deployments(config, "*/5 * * * *"), describe_deployments(config, "*/5 * * * *")
    assert [one.name for one in served] == [entry["name"] for entry in described]
    assert [one.parameters for one in served] == [entry["parameters"] for entry in described]
    crons = [[schedule.schedule.cron for schedule in one.schedules or []] for one in served]  # type: ignore[union-attr]
    assert crons == [["*/5 * * * *"], ["0 12 * * 0"], []]
    assert all((one.concurrency_limit, one.concurrency_options is not None) == (1, True) for one in served)
    with pytest.raises(ConfigError, match=r"in --cron; wanted five fields.*got whenever"):
        to_deployments(config, "whenever")
