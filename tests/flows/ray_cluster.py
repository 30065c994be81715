"""Two Ray nodes on this machine, each with processes, ports and an object store of its own, ended by the ids of their processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# nodes listen to the network; Ray looks at its environment when it is imported, so this module comes first
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
STORE_BYTES = 80 * 2**20
START_SECONDS = 180.0


@contextmanager
def two_nodes(cpus: int = 1) -> Iterator[str]:
    """Start a head and a second node with so many CPUs each; yield the cluster's address."""
    # names of sockets have 107 bytes at most, and Ray needs 70 of them below its folder
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield from _nodes(Path(folder), cpus)


def _nodes(folder: Path, cpus: int) -> Iterator[str]:
    head, second, third = _free_ports(3)
    address = f"127.0.0.1:{head}"
    shared = ["--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"]
    first = ["--head", f"--port={head}", "--include-dashboard=false", f"--temp-dir={folder}", f"--node-manager-port={second}"]
    nodes = [_start([*first, *shared], folder)]
    try:
        _wait_for(head, nodes[0])
        nodes.append(_start([f"--address={address}", f"--node-manager-port={third}", *shared], folder))
        _wait_for(third, nodes[1])
        yield address
    finally:
        for node in reversed(nodes):
            _end(node)


def _start(options: list[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
    # a node's workers import this checkout, whichever is installed
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "RAY_DEDUP_LOGS": "0"}
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)


def _wait_for(port: int, node: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert node.poll() is None, f"a Ray node ended with {node.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"no Ray node listens on {port}")


def _end(node: subprocess.Popen[bytes]) -> None:
    """End a node the way its own command does, and what is left of its session after that."""
    node.terminate()
    try:
        node.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
