"""Servers of a model in processes of their own, asked over HTTP by a process that is theirs alone."""

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
from contest import TAIL, ContestantError, clean_environment
from contestants import Contestant
from environments import python_of
from models import Model
from vectors import Vectors

HERE = Path(__file__).parent
PROC = Path("/proc")
HOST = "127.0.0.1"
STARTS_WITHIN, ENDS_WITHIN = 180.0, 20.0  # seconds
BETWEEN_TRIES = 0.2  # seconds
ANSWERS_WITHIN = 60.0  # seconds
PATHS = {"millpond": "/v1/embeddings", "infinity": "/embeddings"}
PACKAGES = {"millpond": ("millpond", "torch"), "infinity": ("infinity_emb", "transformers", "torch")}
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


@dataclass(frozen=True)
class Usage:
    """The CPU seconds that a process has used, of all its threads together and of each that lives."""

    process: float
    threads: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What clients ask of a server.

    Attributes:
        texts: The texts of each request.
        clients: How many ask at a time.
        warm: Seconds for which they ask before the clock is started.
        seconds: Seconds that are measured.
    """

    texts: Sequence[Sequence[str]]
    clients: int
    warm: float
    seconds: float


class Server:
    """A server that runs.

    Attributes:
        contestant: Whose it is.
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, contestant: Contestant, model: Model, environments: Path, home: Path) -> None:
        """Start it; it may not answer yet.

        Args:
            contestant: Whose server it is.
            model: What it serves.
            environments: Where the peers' environments are kept.
            home: Its home directory; what it writes goes to a file there.
        """
        self.contestant = contestant
        self.port = _free_port()
        python = Path(sys.executable)
        if contestant.environment is not None:
            python = python_of(environments, contestant.environment)
        self._python, self._model = python, model
        self._log = home / f"{contestant.name}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own words
                self._command(), stdout=log, stderr=log, env=clean_environment(home)
            )

    def wait(self) -> None:
        """Wait until it embeds a text.

        Raises:
            ContestantError: If it does not come to that.
        """
        end = time.monotonic() + STARTS_WITHIN
        while self._process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                self.embed(["a cup of tea"])
                return
            time.sleep(BETWEEN_TRIES)
        log = self._log.read_text(encoding="utf-8", errors="replace")
        raise ContestantError(f"{self.contestant.name}: the server does not answer:\n{log[-TAIL:]}")

    def describe(self) -> dict[str, Any]:
        """What it is."""
        packages = PACKAGES[self.contestant.engine]
        said = subprocess.run(  # noqa: S603  our own words
            [str(self._python), "-c", VERSIONS, *packages], capture_output=True, text=True, check=True
        )
        return {"precision": "int8" if self.contestant.quantised else "float32", "versions": json.loads(said.stdout)}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of some texts, [count, dim].

        Raises:
            OSError: If it does not answer, or refuses.
        """
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{PATHS[self.contestant.engine]}",
            data=self._body(texts).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN) as answer:  # noqa: S310  our own address
            items = json.load(answer)["data"]
        return np.asarray([item["embedding"] for item in items], dtype=np.float32)

    def under(self, load: Load) -> dict[str, Any]:
        """What clients saw who all asked at once, and what it cost the server and them, in CPU seconds.

        Raises:
            ContestantError: If an answer is none.
        """
        job = {
            "host": HOST,
            "port": self.port,
            "path": PATHS[self.contestant.engine],
            "bodies": [self._body(texts) for texts in load.texts],
            "clients": load.clients,
            "warm": load.warm,
            "seconds": load.seconds,
        }
        with subprocess.Popen(  # noqa: S603  our own words
            [sys.executable, str(HERE / "load.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as clients:
            found: dict[str, Any] = {}
            if clients.stdin is not None and clients.stdout is not None:
                clients.stdin.write(json.dumps(job))
                clients.stdin.close()
                clients.stdout.readline()
                before = usage_of(self._process.pid)
                found = json.loads(clients.stdout.readline() or "{}")
                after = usage_of(self._process.pid)
        if set(found.get("statuses", ())) != {"200"}:
            raise ContestantError(f"{self.contestant.name}: not every request was answered: {found.get('statuses')}")
        return {**found, **shares(before, after, main=self._process.pid)}

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _body(self, texts: Sequence[str]) -> str:
        return json.dumps({"model": self._model.slug, "input": list(texts)})

    def _command(self) -> list[str]:
        where = ["--host", HOST, "--port", str(self.port), "--served-model-name", self._model.slug]
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
                *where,
            ]
        options = [word for name, value in self.contestant.options.items() for word in (f"--{name}", str(value))]
        return [str(self._python), "-m", "millpond", "serve", str(self._model.folder), *options, *where]


class Servers:
    """Servers that all run and take turns; they end with the context.

    Attributes:
        running: Those that answer, by the names of their contestants.
    """

    def __init__(self, contestants: Sequence[Contestant], model: Model, environments: Path) -> None:
        """Start all, one after the other.

        Args:
            contestants: Whose servers.
            model: What they serve.
            environments: Where the peers' environments are kept.
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
    """The CPU seconds of a process so far, by the clock of Linux: hundredths of a second."""
    threads = {int(task.name): _seconds(task) for task in _tasks(pid)}
    return Usage(_seconds(PROC / str(pid)), threads)


def shares(before: Usage, after: Usage, *, main: int) -> dict[str, Any]:
    """The CPU seconds of a server between two looks at it, and where they went.

    Args:
        before: The first look.
        after: The second.
        main: The thread that the event loop runs in, which speaks HTTP and JSON.

    Returns:
        ``server_cpu``, and of it in ``event_loop`` the seconds of that thread, in ``computing`` those of the busiest
        others, one a core, and in ``other`` the rest: tokenising, queues, the log.
    """
    total = after.process - before.process
    spent = {thread: seconds - before.threads.get(thread, 0.0) for thread, seconds in after.threads.items()}
    loop = spent.pop(main)
    computing = sum(sorted(spent.values(), reverse=True)[: os.cpu_count() or 1])
    return {"server_cpu": total, "event_loop": loop, "computing": computing, "other": total - loop - computing}


def _tasks(pid: int) -> Iterator[Path]:
    yield from (PROC / str(pid) / "task").iterdir()


def _seconds(task: Path) -> float:
    """User and system time; the name of the program, which may hold blanks, stands in brackets before them."""
    fields = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
