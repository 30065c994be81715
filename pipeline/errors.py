"""Every exception that sinkaudit raises on purpose.

    SinkauditError            anything we can explain
    ├── ConfigError           a setting is unknown, out of range or contradicts another     (exit 2)
    ├── InputError            a file, column or row of the user's cannot be read or trusted (exit 2)
    ├── TableError            a frame handed to a stage does not have its table's shape     (exit 3)
    ├── StorageError          a place cannot be written or reached: full, read-only, away   (exit 2)
    ├── BusyError             another process is at the same run                            (exit 2)
    ├── IntegrityError        stored bytes are missing or differ from their recorded digest (exit 1)
    ├── GuardError            deduplication took more than a guard lets it                  (exit 1)
    └── StageError            something failed that nobody foresaw: a defect, or the system (exit 3)

A message answers five questions in one breath: what is wrong, where, what was wanted, what came instead, and what to do next.
"""

from __future__ import annotations


class SinkauditError(Exception):
    """Explain one failure to the person who has to mend it."""

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", wanted: str = "", got: str = "", do: str = "") -> None:
        self.what, self.where, self.wanted, self.got, self.do = what, where, wanted, got, do
        parts = [what, where and f"in {where}", wanted and f"wanted {wanted}", got and f"got {got}", do and f"what to do: {do}"]
        super().__init__("; ".join(part for part in parts if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip between worker processes: keyword-only arguments need their own constructor call."""
        return (_rebuild, (type(self), self.what, self.where, self.wanted, self.got, self.do))


def _rebuild(kind: type[SinkauditError], what: str, where: str, wanted: str, got: str, do: str) -> SinkauditError:
    return kind(what, where=where, wanted=wanted, got=got, do=do)


class ConfigError(SinkauditError):
    """A setting is unknown, out of range or contradicts another."""

    exit_code = 2


class InputError(SinkauditError):
    """A file, column or row of the user's cannot be read or trusted."""

    exit_code = 2


class TableError(SinkauditError):
    """A frame handed to a stage does not have its table's shape."""


class StorageError(SinkauditError):
    """A place cannot be written or reached: it is full, read-only, refuses or does not answer."""

    exit_code = 2


class BusyError(SinkauditError):
    """Another process is at the same run, so this one leaves before it touches anything."""

    exit_code = 2


class IntegrityError(SinkauditError):
    """Stored bytes are missing or differ from their recorded digest."""

    exit_code = 1


class GuardError(SinkauditError):
    """Deduplication took more than a guard lets it, so the run ends before anything is trained or published."""

    exit_code = 1


class StageError(SinkauditError):
    """A stage failed in a way that nobody foresaw; only the kind and place are told, because the cause may quote the corpus."""
