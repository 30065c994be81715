"""What a failure says."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import (
    BusyError,
    ConfigError,
    GuardError,
    InputError,
    IntegrityError,
    SinkauditError,
    StageError,
    StorageError,
    TableError,
)


def test_a_message_answers_its_questions_in_order() -> None:
    """What, where, wanted, got and what to do stand in one line; what is not known is left out."""
    full = InputError("bad row", where="a.jsonl, line 3", wanted="an object", got="a list", do="mend it")
    assert str(full) == "bad row; in a.jsonl, line 3; wanted an object; got a list; what to do: mend it"
    assert str(InputError("bad row", got="a list")) == "bad row; got a list"


CODES = {
    ConfigError: 2,
    InputError: 2,
    TableError: 3,
    StorageError: 2,
    BusyError: 2,
    IntegrityError: 1,
    GuardError: 1,
    StageError: 3,
    SinkauditError: 3,
}


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_exit_codes_and_pickling(kind: type[SinkauditError], code: int) -> None:
    """Each leaf has its exit code and survives the trip between processes."""
    error = kind("what", where="where", wanted="wanted", got="got", do="do")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.do, again.exit_code) == (kind, str(error), "do", code)
    assert isinstance(again, SinkauditError)
