"""The configurations that ship are valid, and say what the documents say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config, parse_config

CONFIGS = sorted(Path("flows/configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_shipped_configuration_loads(path: Path) -> None:
    """A ready configuration names itself after its file."""
    assert load_config(path).name == path.stem


def test_each_deployment_has_valid_parameters_and_runs_one_at_a_time() -> None:
    """Deployments carry a whole, valid configuration and never overlap with themselves."""
    deployments = yaml.safe_load(Path("flows/prefect.yaml").read_text())["deployments"]
    assert {"demo-nightly", "demo-weekly", "demo-on-demand"} <= {deployment["name"] for deployment in deployments}
    for deployment in deployments:
        parse_config(deployment["parameters"]["config"], where=deployment["name"])
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert Path(deployment["entrypoint"].partition(":")[0]).exists()
