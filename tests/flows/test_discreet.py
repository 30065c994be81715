"""What flows and tasks let Prefect and a terminal know of the corpus: nothing."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest

from flows.discreet import DiscreetFlow, contained, described, flow
from pipeline.config import ReleaseConfig
from pipeline.errors import InputError, StageError
from pipeline.store import Artifact, Part

SECRET = "zanzibar"


def _quote_a_row() -> None:
    pl.Series([SECRET]).cast(pl.Int64)


def _explain_a_row() -> None:
    try:
        _quote_a_row()
    except pl.exceptions.PolarsError as error:
        raise InputError("the column holds no numbers", where="column 3", got="text") from error


@pytest.mark.parametrize(("fails", "kind"), [(_quote_a_row, StageError), (_explain_a_row, InputError)])
def test_an_exception_leaves_without_what_it_quotes(fails: Callable[[], None], kind: type[Exception]) -> None:
    """The library's message quotes the row; what leaves has its type and place, and no traceback shows where it came from."""
    with pytest.raises(pl.exceptions.PolarsError, match=SECRET):
        _quote_a_row()
    with pytest.raises(kind) as caught, contained("find candidates"):
        fails()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is not None
    if kind is StageError:
        assert "InvalidOperationError; in find candidates, flows/test_discreet.py:" in str(caught.value)
        assert "--debug" in str(caught.value)


def test_the_systems_errors_say_what_the_system_says() -> None:
    """A full disk is told as such, without the path; an interrupt passes as it is."""
    with (
        pytest.raises(StageError, match=r"OSError: No space left on device; in filtering, outside our code|flows/") as caught,
        contained("filtering"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", SECRET)
    assert SECRET not in str(caught.value)
    with pytest.raises(KeyboardInterrupt), contained("filtering"):
        raise KeyboardInterrupt


@dataclass(frozen=True)
class _Tables:
    documents: Artifact
    sources: pl.DataFrame


def test_a_flow_hands_prefect_settings_and_digests_alone() -> None:
    """Facts of a table name sources and files of the corpus; they are left out, in a flow with other options, too."""

    @flow(name="stage")
    def stage(config: ReleaseConfig, tables: _Tables, runs: dict[str, Artifact], quiet: bool) -> None: ...

    documents = Artifact("documents", "folder", (Part("a", 3, 1, "d"),), "d1", {"sources": {SECRET: 3}})
    values: dict[str, Any] = {
        "config": ReleaseConfig(),
        "tables": _Tables(documents, pl.DataFrame({SECRET: [1]})),
        "runs": {"one": documents},
    }
    for one in (stage, stage.with_options(name="other")):
        assert isinstance(one, DiscreetFlow)
        told = one.serialize_parameters({**values, "quiet": True})
        named = {"table": "documents", "digest": "d1", "num_rows": 3}
        assert told["tables"] == {"documents": named, "sources": "<DataFrame>"}
        assert (told["runs"], told["quiet"], told["config"]["sink_threshold"]) == ({"one": named}, True, 0.5)
    assert described((1, None, documents)) == [1, None, named]
