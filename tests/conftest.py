"""A local S3 server for the tests that write to an object store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.places import locate

BUCKET = "s3://audits"
SERVER = """
import logging, sys, threading
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
"""In a process of its own, so that neither waits for the other's interpreter; it ends with its standard input."""


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Serve S3 on a free port for the session, reached as a user would: by AWS_* variables alone; return a bucket's URL."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        told = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "s3cret-of-the-tests", "AWS_DEFAULT_REGION": "us-east-1"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**told, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
                patch.setenv(name, value)
            locate(BUCKET)[0].mkdir(BUCKET)
            yield BUCKET
