"""A server that a test talks to over HTTP: a process of its own, on 127.0.0.1, ended by its pid."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

MINILM = "all-MiniLM-L6-v2"
PATIENCE = 60.0
LISTENS = re.compile(r"listens on ((?:http|unix):\S+)")


@dataclass(frozen=True)
class Running:
    """A server that runs, and the lines that it writes."""

    process: subprocess.Popen
    address: str
    lines: list

    def client(self, **more):
        return httpx2.Client(base_url=self.address, timeout=30.0, **more)


@contextmanager
def serving(*arguments, env=None):
    """``millpond serve ...`` on a free port, until the block ends."""
    command = [sys.executable, "-m", "millpond", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
    )
    lines, listens = [], threading.Event()
    # Somebody must read what it writes, one line a request: a full pipe would hold it up.
    reader = threading.Thread(target=_read, args=(process, lines, listens), daemon=True)
    reader.start()
    try:
        yield Running(process, _address(lines, listens), lines)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(PATIENCE)
        process.stdout.close()


def _read(process, lines, listens):
    for line in process.stdout:
        lines.append(line)
        if LISTENS.search(line):
            listens.set()
    listens.set()


def _address(lines, listens):
    listens.wait(PATIENCE)
    found = next(filter(None, map(LISTENS.search, list(lines))), None)
    if found is None:
        pytest.fail(f"the server did not start:\n{''.join(lines)}")
    return found.group(1)


@pytest.fixture(scope="session")
def minilm_server():
    with serving(MINILM) as running:
        yield running


@pytest.fixture
def http(minilm_server):
    with minilm_server.client() as client:
        yield client
