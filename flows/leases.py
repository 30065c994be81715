"""Leases: locks on object stores, which know no processes. A holder renews its object; one that is not renewed is nobody's.

Clocks of machines are never compared. Who finds a lease watches it: if its version changes the holder lives, if it stays the same for
`EXPIRES` seconds it is taken over. A holder on the same machine that has ended is known at once. Writes are conditional (S3: If-None-Match
and If-Match), so of several that take over one wins; a store without conditions is checked after the write, which leaves a moment in which
two could win.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.holders import Holder
from pipeline.errors import BusyError
from pipeline.places import explained, locate, version_of

RENEWED, EXPIRES, LOOKED = 15.0, 60.0, 1.0
"""Seconds after which a lease is renewed, after which one that was not is nobody's, and between looks at another's."""


class Lease:
    """Hold one object in one's own name until the block ends, renewing it in a thread."""

    def __init__(self, path: str, holder: Holder) -> None:
        self.path, self._holder = path, holder
        self._filesystem, self._plain = locate(path)
        self._version: str | None = None
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self, is_patient: bool) -> None:
        """Take the lease, over from a holder that is dead.

        Raises: BusyError when its holder lives, unless one is patient.
        """
        while not self._create():
            seen, version = self._look()
            if seen is None:
                continue
            is_free = not seen.is_alive() if seen.is_here() else self._stays(version)
            if is_free:
                if self._put(IfMatch=version):
                    break
            elif not is_patient:
                raise seen.busy(self.path)
            time.sleep(LOOKED)
        self._renewed = time.monotonic()
        self._thread.start()

    def release(self) -> None:
        """Give the lease back, if it is still one's own."""
        self._over.set()
        self._thread.join()
        if self._is_own():
            with explained(self.path, "removed"):
                self._filesystem.rm_file(self._plain)

    def check(self) -> None:
        """Return if the lease is one's own still.

        Raises: BusyError when it could not be renewed in time, or another has it.
        """
        if time.monotonic() - self._renewed > EXPIRES or not self._is_own():
            raise BusyError("this run lost its lease", where=self.path, do="run the same command again; it goes on where this one stopped")

    def _create(self) -> bool:
        try:
            return self._put(mode="create")
        except FileExistsError:
            return False

    def _put(self, **condition: Any) -> bool:
        """Write the object if the condition holds, and say whether it is one's own now."""
        if "s3" not in self._filesystem.protocol:
            condition.pop("IfMatch", None)
        self._holder = self._holder.renewed()
        try:
            self._filesystem.pipe_file(self._plain, self._holder.to_bytes(), **condition)
        except FileExistsError:
            raise
        except OSError as error:
            if "pre-conditions" in str(error) or "PreconditionFailed" in str(error):
                return False
            with explained(self.path):
                raise
        return self._is_own()

    def _look(self) -> tuple[Holder | None, str | None]:
        """Return who holds the lease, None if nobody, and the version that says so."""
        try:
            with explained(self.path, "read"):
                version = version_of(self._filesystem.info(self._plain))
                return Holder.from_bytes(self._filesystem.cat_file(self._plain)), version
        except FileNotFoundError:
            return None, None

    def _stays(self, version: str | None) -> bool:
        """Watch a lease and say whether it stayed as it is until it expired."""
        seen, _ = self._look()
        end = time.monotonic() + EXPIRES
        while time.monotonic() < end:
            time.sleep(LOOKED)
            if self._look() != (seen, version):
                return False
        return True

    def _is_own(self) -> bool:
        found, self._version = self._look()
        return found is not None and found.token == self._holder.token

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            try:
                if not self._put(IfMatch=self._version):
                    return  # another took over; `check` says so
            except Exception:  # noqa: BLE001, S112  the network may come back in time; `check` says so if not
                continue
            self._renewed = time.monotonic()


@contextmanager
def leased(path: str, holder: Holder, *, is_patient: bool) -> Iterator[Lease]:
    """Hold a lease for the block."""
    lease = Lease(path, holder)
    lease.acquire(is_patient)
    try:
        yield lease
    finally:
        lease.release()
