"""Run servers of a model in separate processes, and measure them under the load of HTTP clients."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from contest import LOG_TAIL_CHARS, ContestantError, clean_environment
from contestants import Contestant
from environments import python_of
from models import Model
from vectors import Vectors

HERE = Path(__file__).parent
PROC = Path("/proc")
HOST = "127.0.0.1"
START_TIMEOUT, STOP_TIMEOUT = 180.0, 20.0  # seconds
RETRY_INTERVAL = 0.2  # seconds
RESPONSE_TIMEOUT = 60.0  # seconds
PATHS = {"millpond": "/v1/embeddings", "infinity": "/embeddings"}
PACKAGES = {"millpond": ("millpond", "torch"), "infinity": ("infinity_emb", "transformers", "torch")}
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


@dataclass(frozen=True)
class Usage:
    """The CPU seconds of a process: the total, and those of each running thread."""

    process: float
    threads: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Load:
    """The requests of clients.

    Attributes:
        texts: The texts of each request.
        clients: The number of concurrent clients.
        warm: The duration of the warm-up, in seconds.
        seconds: The duration of the measurement, in seconds.
    """

    texts: Sequence[Sequence[str]]
    clients: int
    warm: float
    seconds: float


class Server:
    """A running server.

    Attributes:
        contestant: The contestant of the server.
        port: Its port on 127.0.0.1.
    """

    def __init__(self, contestant: Contestant, model: Model, environments: Path, home: Path) -> None:
        """Start the server without waiting until it responds.

        Args:
            contestant: The contestant to start.
            model: The model to serve.
            environments: The folder of the peers' environments.
            home: Its home directory, which also receives its log.
        """
        self.contestant = contestant
        self.port = _free_port()
        python = Path(sys.executable)
        if contestant.environment is not None:
            python = python_of(environments, contestant.environment)
        self._python, self._model = python, model
        self._log = home / f"{contestant.name}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(  # noqa: S603  fixed arguments
                self._command(), stdout=log, stderr=log, env=clean_environment(home)
            )

    def wait(self) -> None:
        """Wait until the server embeds a text.

        Raises:
            ContestantError: If it does not respond in time.
        """
        end = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                self.embed(["a cup of tea"])
                return
            time.sleep(RETRY_INTERVAL)
        log = self._log.read_text(encoding="utf-8", errors="replace")
        raise ContestantError(f"{self.contestant.name}: the server does not respond:\n{log[-LOG_TAIL_CHARS:]}")

    def describe(self) -> dict[str, Any]:
        """Return the precision and the versions of the packages."""
        command = [str(self._python), "-c", VERSIONS, *PACKAGES[self.contestant.engine]]
        process = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  fixed arguments
        return {"precision": "int8" if self.contestant.quantised else "float32", "versions": json.loads(process.stdout)}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, [count, dim].

        Raises:
            OSError: If the server does not respond, or refuses the request.
        """
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{PATHS[self.contestant.engine]}",
            data=self.body(texts).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=RESPONSE_TIMEOUT) as response:  # noqa: S310  a local server
            items = json.load(response)["data"]
        return np.asarray([item["embedding"] for item in items], dtype=np.float32)

    def run_load(self, load: Load) -> dict[str, Any]:
        """Run concurrent clients; returns their latencies, and the CPU seconds of the clients and of the server.

        Raises:
            ContestantError: If a request fails.
        """
        job = {
            "host": HOST,
            "port": self.port,
            "path": PATHS[self.contestant.engine],
            "bodies": [self.body(texts) for texts in load.texts],
            "clients": load.clients,
            "warm": load.warm,
            "seconds": load.seconds,
        }
        with subprocess.Popen(  # noqa: S603  fixed arguments
            [sys.executable, str(HERE / "load.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as clients:
            figures: dict[str, Any] = {}
            if clients.stdin is not None and clients.stdout is not None:
                clients.stdin.write(json.dumps(job))
                clients.stdin.close()
                clients.stdout.readline()
                before = usage_of(self._process.pid)
                figures = json.loads(clients.stdout.readline() or "{}")
                after = usage_of(self._process.pid)
        if set(figures.get("statuses", ())) != {"200"}:
            raise ContestantError(f"{self.contestant.name}: some requests failed: {figures.get('statuses')}")
        return {**figures, **shares(before, after, main=self._process.pid)}

    def close(self) -> None:
        """Stop the server."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def body(self, texts: Sequence[str]) -> str:
        """Return the body of a request that embeds texts."""
        return json.dumps({"model": self._model.slug, "input": list(texts)})

    def _command(self) -> list[str]:
        common = ["--host", HOST, "--port", str(self.port), "--served-model-name", self._model.slug]
        if self.contestant.engine == "infinity":
            program = str(self._python.parent / "infinity_emb")
            return [
                program,
                "v2",
                "--model-id",
                str(self._model.folder),
                "--engine",
                "torch",
                "--device",
                "cpu",
                *common,
            ]
        options = [word for name, value in self.contestant.options.items() for word in (f"--{name}", str(value))]
        return [str(self._python), "-m", "millpond", "serve", str(self._model.folder), *options, *common]


class Servers:
    """A context manager for servers that run at the same time.

    Attributes:
        running: The servers by the names of their contestants.
    """

    def __init__(self, contestants: Sequence[Contestant], model: Model, environments: Path) -> None:
        """Start all servers one after the other.

        Args:
            contestants: The contestants to start.
            model: The model to serve.
            environments: The folder of the peers' environments.
        """
        self.running: dict[str, Server] = {}
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millpond-benchmark-")))
            for contestant in contestants:
                server = Server(contestant, model, environments, home)
                stack.callback(server.close)
                server.wait()
                self.running[contestant.name] = server
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def usage_of(pid: int) -> Usage:
    """Return the CPU seconds of a process so far; Linux counts hundredths of a second."""
    threads = {int(task.name): _seconds(task) for task in _tasks(pid)}
    return Usage(_seconds(PROC / str(pid)), threads)


def shares(before: Usage, after: Usage, *, main: int) -> dict[str, Any]:
    """Return the CPU seconds of a server between two measurements, by kind of thread.

    Args:
        before: The first measurement.
        after: The second measurement.
        main: The thread of the event loop, which handles HTTP and JSON.

    Returns:
        ``server_cpu``, the total; ``event_loop``, that thread; ``computing``, the busiest other threads, one per core;
        ``other``, the rest: tokenisation, queues, the log.
    """
    total = after.process - before.process
    spent = {thread: seconds - before.threads.get(thread, 0.0) for thread, seconds in after.threads.items()}
    loop = spent.pop(main)
    computing = sum(sorted(spent.values(), reverse=True)[: os.cpu_count() or 1])
    return {"server_cpu": total, "event_loop": loop, "computing": computing, "other": total - loop - computing}


def _tasks(pid: int) -> Iterator[Path]:
    yield from (PROC / str(pid) / "task").iterdir()


def _seconds(task: Path) -> float:
    """Return user and system time; the name of the program, which may contain spaces, precedes them in parentheses."""
    fields = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
