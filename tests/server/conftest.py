"""A server that a test talks to over HTTP: a process of its own, on 127.0.0.1, ended by its pid."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

MINILM = "all-MiniLM-L6-v2"
PATIENCE = 60.0


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    process: subprocess.Popen
    address: str

    def client(self, **more):
        return httpx2.Client(base_url=self.address, timeout=30.0, **more)


@contextmanager
def serving(*arguments, env=None):
    """``millpond serve ...`` on a free port, until the block ends."""
    command = [sys.executable, "-m", "millpond", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
    )
    try:
        yield Running(process, _address(process))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _address(process):
    deadline, lines = time.monotonic() + PATIENCE, []
    while time.monotonic() < deadline:
        if not select.select([process.stdout], [], [], 1.0)[0]:
            continue
        line = process.stdout.readline()
        lines.append(line)
        found = re.search(r"listens on (http://\S+)", line)
        if found:
            return found.group(1)
        if not line and process.poll() is not None:
            break
    pytest.fail(f"the server did not start:\n{''.join(lines)}")


@pytest.fixture(scope="session")
def minilm_server():
    with serving(MINILM) as running:
        yield running


@pytest.fixture
def http(minilm_server):
    with minilm_server.client() as client:
        yield client
