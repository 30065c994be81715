"""The walk-through's commands exist and take the options it gives them; it is executed by hand, as the log of experiments says."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import re
import shlex
from pathlib import Path

import click
import pytest
from cyclopts.exceptions import CycloptsError
from prefect.cli._app import _app
from prefect.flows import load_flow_from_entrypoint

from flows.announce import WORDS
from flows.cli import cli
from flows.deployments import describe_deployments
from pipeline.config import load_config

TEXT = Path("flows/WALKTHROUGH.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, flags=re.S | re.M)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
CONFIG = "flows/configs/walkthrough.yaml"


def _parse(line: str) -> None:
    """Parse a command of ours or Prefect's as the program would, and do nothing."""
    program, *arguments = shlex.split(line)
    if program == "sinkaudit":
        cli.commands[arguments[0]].make_context(arguments[0], arguments[1:])
    else:
        _app.parse_args([word for word in arguments if word != "--no-prompt"], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith(("sinkaudit ", "prefect "))])
def test_each_command_is_one(line: str) -> None:
    """Names, arguments and options."""
    _parse(line)


def test_a_wrong_command_would_be_noticed() -> None:
    """Of either program, in name and in option."""
    for wrong in ("prefect deploymen ls", "prefect artifact inspect --nope key"):
        with pytest.raises(CycloptsError):
            _parse(wrong)
    with pytest.raises(KeyError):
        _parse("sinkaudit sirve x")
    with pytest.raises(click.UsageError):
        _parse("sinkaudit serve x --crown y")


def test_what_the_commands_name_is_there() -> None:
    """Files of the clone, deployments, settings, the training flow; everything else the commands make themselves."""
    named = {word for line in COMMANDS for word in shlex.split(line) if word.startswith(("flows/", "data/samples/"))}
    assert CONFIG in named
    assert [name for name in named if not Path(name.partition(":")[0]).exists()] == []
    deployed = {f"audit/{entry['name']}" for entry in describe_deployments(load_config(CONFIG))}
    assert set(re.findall(r"\baudit/[\w-]+", TEXT)) <= deployed
    overrides = [shlex.split(line)[i + 1] for line in COMMANDS for i, word in enumerate(shlex.split(line)) if word == "--set"]
    assert load_config(CONFIG, overrides).release.guards.source_loss == "fail"
    assert load_flow_from_entrypoint("flows/training.py:train", use_placeholder_flow=False).name == "train"
    assert all(f"`sinkaudit.gate.{word}`" in TEXT or f"`{word}`" in TEXT for word in WORDS.values())
