"""Flows and tasks that tell Prefect nothing of the corpus: not in parameters, not in states, not in logs.

Prefect stores what a flow is called with, and the message and traceback of whatever ends one. An exception of a library may quote the row
it stumbled over, and what stages hand on names the sources in the corpus. So what is called is described by name, digest and count, and
an exception that is not our own leaves as a StageError that says its kind and place alone. Our own say what they say on purpose: files,
row numbers, columns and settings. The whole story stays in the process, for `sinkaudit --debug`.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from pipeline.errors import SinkauditError, StageError
from pipeline.store import Artifact

P = ParamSpec("P")
R = TypeVar("R")
OURS = (f"{os.sep}pipeline{os.sep}", f"{os.sep}flows{os.sep}")


class DiscreetFlow(Flow[P, R]):
    """Hand Prefect settings as they are, and of everything else no more than `described` says."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what Prefect stores of the parameters."""
        return super().serialize_parameters({name: described(value) for name, value in parameters.items()})

    def with_options(self, **options: Any) -> DiscreetFlow[P, R]:
        """Return a copy with other options, as discreet as this one: Prefect's own would be a plain flow."""
        copy = super().with_options(**options)
        copy.__class__ = DiscreetFlow
        return copy  # type: ignore[return-value]


def flow(**options: Any) -> Callable[[Callable[P, R]], DiscreetFlow[P, R]]:
    """Make a function a flow, as `prefect.flow` does, whose results Prefect stores nowhere: they are in the ledger."""
    return lambda function: DiscreetFlow(_contained(function), persist_result=False, **options)


def task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task, as `prefect.task` does, without Prefect's cache: its keys do not see the code that a task calls."""
    return lambda function: Task(_contained(function), name=name, cache_policy=NO_CACHE, persist_result=False)


def described(value: Any) -> Any:
    """Return settings and plain values as they are, a table's name, digest and rows, of other records the same field by field."""
    if isinstance(value, Artifact):
        return {"table": value.table, "digest": value.digest, "num_rows": value.num_rows}
    if value is None or isinstance(value, BaseModel | str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): described(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if is_dataclass(value):
        return {field.name: described(getattr(value, field.name)) for field in fields(value)}
    return f"<{type(value).__name__}>"


@contextmanager
def contained(name: str) -> Iterator[None]:
    """Let no exception out of the block that could quote the corpus; none carries the exception that caused it into a traceback.

    Raises: StageError in place of an exception that is not ours.
    """
    try:
        yield
    except SinkauditError as error:
        # `from None` would lose the line that raised it; the context stays for --debug, and no traceback shows it
        error.__cause__, error.__suppress_context__ = None, True
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it must not be told as it is
        raise StageError(_kind(error), where=f"{name}, {_place(error)}", do=_DO) from None


_DO = "run the same command with `sinkaudit --debug` where the corpus may be seen: what it prints can quote rows"


def _kind(error: Exception) -> str:
    """Return an exception's type, and of the system's errors what the system says, which is no text of ours."""
    said = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{said}"


def _place(error: Exception) -> str:
    """Return file and line of our own code that the exception came through last."""
    place, trace = "", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if any(folder in path for folder in OURS) and path != __file__ and "site-packages" not in path:
            place = f"{Path(path).parent.name}/{Path(path).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place or "outside our code"


def _contained(function: Callable[P, R]) -> Callable[P, R]:
    hold, name = contained, function.__name__.replace("_", " ")

    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with hold(name):
            return function(*args, **kwargs)

    # Prefect looks up annotations among the globals of what it calls, so those of the function it is; the body needs none of its own
    return wraps(function)(FunctionType(called.__code__, function.__globals__, name, None, called.__closure__))
