"""summary.schema.json is documentation too: every property is described and nothing undeclared fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import pipeline.report
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

SCHEMA = json.loads((Path(pipeline.report.__path__[0]) / "summary.schema.json").read_text())
OPEN = {"config", "environment", "facts"}
"""Objects whose keys are somebody else's: settings, packages, what stages recorded."""


def _nodes(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema in the schema, under the name of the property that it describes."""
    if not isinstance(node, dict):
        return
    yield name, node
    for key, child in {**node.get("properties", {}), **node.get("$defs", {})}.items():
        yield from _nodes(child, key)
    for key in ("items", "additionalProperties"):
        yield from _nodes(node.get(key), "[]")
    for child in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        yield from _nodes(child, name)


def test_every_property_is_described_in_one_line() -> None:
    """Whoever adds a property says what it is."""
    properties = [(key, child) for _, node in _nodes(SCHEMA) for key, child in node.get("properties", {}).items()]
    assert len(properties) > 250
    bare = [key for key, child in properties if not child.get("description", "").strip() or "\n" in child["description"]]
    assert not bare


def test_objects_are_closed() -> None:
    """An object admits no property that it does not list, or only of a stated type, but where its keys are somebody else's."""
    for name, node in _nodes(SCHEMA):
        if node.get("type") == "object":
            others = node.get("additionalProperties", True)
            assert name in OPEN or others is False or isinstance(others, dict), name


@pytest.mark.parametrize("place", [(), ("gates",), ("scope",), ("sinks", "evaluation"), ("timing",), ("gates", "gates", 0)])
def test_what_is_not_declared_does_not_fit(make_inputs: MakeInputs, place: tuple[str | int, ...]) -> None:
    """A surplus or a missing property is found at every depth."""
    for change in ("surplus", "missing"):
        summary: Any = json.loads(json.dumps(build_summary(make_inputs(60))))
        at = summary
        for key in place:
            at = at[key]
        if change == "surplus":
            at["unheard_of"] = 1
        else:
            at.pop(sorted(at)[0])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(SCHEMA).validate(summary)
