"""What only one process may do at a time, and the locks that see to it. No lock outlives its process, not even after `kill -9`.

Exclusive is **one run**: equal audits share a run id, and with it staging, reports and log. A second process at the same run is refused
at once; it is told who is at it. Two runs of different ids may share a ledger, reports and filtered data: their **stages** are named by
what they are made from, so whoever comes second waits for the first and takes what it made. The **list of runs** is written by one at a
time, so that none is missing from it. Readers take no locks: what they read appears whole.

Local folders are locked with flock(2): the kernel frees the lock with the process. Object stores get a lease (`flows.leases`).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from flows.holders import Holder
from flows.leases import leased
from pipeline.places import explained, is_local, locate

POLLED = 0.1
Check = Callable[[], None]


@contextmanager
def locked(path: str, *, is_patient: bool = False) -> Iterator[Check]:
    """Hold the lock at a path or URL for the block; yield what says whether it is held still.

    is_patient: wait for another holder. Raises: BusyError naming the holder, if not; StorageError where no lock can be written.
    """
    filesystem, plain = locate(path)
    if not is_local(filesystem):
        with leased(path, Holder(), is_patient=is_patient) as lease:
            yield lease.check
        return
    with explained(path):
        file = _open_locked(Path(plain), path, is_patient)
    try:
        yield lambda: None
    finally:
        # removed while it is held: who opened it meanwhile will find that it is not the file of that name any more
        Path(plain).unlink(missing_ok=True)
        file.close()


@contextmanager
def claimed(roots: Sequence[str], name: str) -> Iterator[Check]:
    """Hold a run in each of the places that it writes to, for the block.

    Raises: as `locked`.
    """
    with ExitStack() as stack:
        checks = [stack.enter_context(locked(f"{root}/.lock-{name}")) for root in sorted(set(roots))]

        def check() -> None:
            for each in checks:
                each()

        yield check


def _open_locked(plain: Path, path: str, is_patient: bool) -> IO[bytes]:
    plain.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(plain, "a+b", buffering=0)  # noqa: SIM115  it is the lock: closed by who holds it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = Holder.from_bytes(file.read())
            file.close()
            if not is_patient:
                raise holder.busy(path) from None
            time.sleep(POLLED)
            continue
        if plain.exists() and os.fstat(file.fileno()).st_ino == plain.stat().st_ino:
            file.truncate(0)
            file.write(Holder().to_bytes())
            return file
        file.close()
