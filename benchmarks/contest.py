"""Contestants in processes of their own, one at work while the others sleep, in an order that turns with each round."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from contestants import Contestant
from environments import console, python_of
from machine import processor_flags
from models import Model, form_folder, whole_or_not_at_all
from vectors import Vectors
from workloads import Workload, prose

HERE = Path(__file__).parent
SETTLE = 0.2  # seconds; threads that spin after their work go to sleep meanwhile
CALIBRATION_TEXTS, CALIBRATION_SEED = 400, 20261130
LEAKS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # they would mix one environment into another
TAIL = 3000  # characters of a log that an error shows


class ContestantError(RuntimeError):
    """A contestant refused, failed or died; the message says what it said."""


class Worker:
    """The process of a contestant.

    Attributes:
        name: The name of the contestant.
        about: What it said when it had loaded its model.
    """

    def __init__(self, name: str, python: Path, home: Path) -> None:
        """Start the process; it loads nothing yet.

        Args:
            name: The name of the contestant.
            python: The Python of its environment.
            home: Its home directory: runtimes leave files there.
        """
        self.name = name
        self.about: dict[str, Any] = {}
        self._log = home / f"{name}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own words
                [str(python), str(HERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(home),
                text=True,
                encoding="utf-8",
            )

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Have something done, and wait for what came of it.

        Raises:
            ContestantError: If it refuses, fails or dies.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ContestantError(f"{self.name}: there is no way to talk to it")
        line = ""
        with contextlib.suppress(BrokenPipeError):  # an empty answer says the same
            stdin.write(json.dumps({"action": action, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            raise ContestantError(f"{self.name}: ended with {self._process.wait()} at {action!r}:\n{log[-TAIL:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContestantError(f"{self.name}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Contest:
    """Contestants that are loaded and take turns; ends their processes when the context does.

    Attributes:
        workers: Those that loaded, by name, in order.
        left_out: Those that did not, by name, and why.
    """

    def __init__(self, environments: Path) -> None:
        """Nobody takes part yet.

        Args:
            environments: Where environments and exported models are kept.
        """
        self.environments = environments
        self.workers: dict[str, Worker] = {}
        self.left_out: dict[str, str] = {}
        self._open = ExitStack()
        self._home = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="millpond-benchmark-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def prepare(self, contestants: Sequence[Contestant], model: Model) -> None:
        """Make the environments and the forms of a model that are not there, before anything is measured."""
        for contestant in contestants:
            self.load_arguments(contestant, model)

    def enter(self, contestants: Sequence[Contestant], model: Model) -> None:
        """Load a model in each contestant; one of ours that refuses is left out, and said to be.

        Raises:
            ContestantError: If a peer does not load the model.
        """
        for contestant in contestants:
            worker = self.start(contestant)
            try:
                worker.about = worker.ask("load", **self.load_arguments(contestant, model))
            except ContestantError as error:
                worker.close()
                if not contestant.is_ours or not contestant.options:
                    raise
                self.left_out[contestant.name] = str(error)
                console.print(f"Left out: {error}")
                continue
            self.workers[contestant.name] = worker
            console.print(f"{contestant.label} is loaded, in {worker.about['seconds']:.1f} s")

    def describe(self) -> dict[str, Any]:
        """Who takes part, with what they said of themselves, and who does not."""
        return {
            "contestants": {name: worker.about for name, worker in self.workers.items()},
            "left_out": dict(self.left_out),
        }

    def start(self, contestant: Contestant) -> Worker:
        """The process of a contestant, which has loaded nothing."""
        python = Path(sys.executable)
        if contestant.environment is not None:
            python = python_of(self.environments, contestant.environment)
        return self._start(contestant.name, python)

    def matrices(self, **options: Any) -> Worker:
        """A worker that multiplies matrices: what the machine can give."""
        worker = self._start("matrices", Path(sys.executable))
        worker.about = worker.ask("load", engine="matrices", **options)
        return worker

    def load_arguments(self, contestant: Contestant, model: Model) -> dict[str, Any]:
        """What a worker is told to load; a form of the model that is not there is made."""
        folder = form_folder(self.environments, model, contestant)
        if not folder.exists() and contestant.environment is not None:
            self._export(contestant.environment, model, folder)
        return {"engine": contestant.engine, "model": str(folder), **contestant.options}

    def give(self, workload: Workload) -> None:
        """Let all know the texts of a workload, and embed them once before a clock is started."""
        for worker in self.workers.values():
            worker.ask("texts", workload=workload.name, texts=list(workload.texts))
            worker.ask("run", workload=workload.name)

    def vectors(self, workload: Workload, count: int) -> dict[str, Vectors]:
        """What each makes of the first texts of a workload, [count, dim]."""
        found: dict[str, Vectors] = {}
        for name, worker in self.workers.items():
            path = self._home / f"{name}-{workload.name}.npy"
            worker.ask("save", workload=workload.name, path=str(path), count=count)
            found[name] = np.load(path)
        return found

    def _start(self, name: str, python: Path) -> Worker:
        worker = Worker(name, python, self._home)
        self._open.callback(worker.close)
        return worker

    def _export(self, environment: str, model: Model, folder: Path) -> None:
        python = python_of(self.environments, environment)
        console.print(f"Exporting {model.name} for {environment}; this is done once.")
        start = time.perf_counter()
        with whole_or_not_at_all(folder) as draft:
            how = quantisation_of(processor_flags()) if environment == "onnx" else str(self._calibration(model))
            command = [str(python), str(HERE / "export.py"), environment, str(model.folder), str(draft), how]
            done = subprocess.run(  # noqa: S603  our own words
                command, capture_output=True, text=True, check=False, env=clean_environment(self._home)
            )
            if done.returncode:
                raise ContestantError(f"{' '.join(command)} failed:\n{done.stdout[-TAIL:]}{done.stderr[-TAIL:]}")
        console.print(f"Exported it in {time.perf_counter() - start:.0f} s.")

    def _calibration(self, model: Model) -> Path:
        folder = self._home / "calibration"
        folder.mkdir(exist_ok=True)
        texts = prose(model.tokenizer, CALIBRATION_TEXTS, seed=CALIBRATION_SEED).texts
        rows = "".join(json.dumps({"sentence": text}) + "\n" for text in texts)
        (folder / "train.jsonl").write_text(rows, encoding="utf-8")
        return folder


def clean_environment(home: Path) -> dict[str, str]:
    """The variables of a worker: a home of its own, no network, nothing of the environment that it is started from."""
    inherited = {name: value for name, value in os.environ.items() if name not in LEAKS and not name.startswith("XDG_")}
    return {
        **inherited,
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(home / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }


def quantisation_of(flags: frozenset[str]) -> str:
    """Which of sentence-transformers' configurations of dynamic quantisation suits a processor."""
    if "avx512_vnni" in flags:
        return "avx512_vnni"
    if "avx512f" in flags:
        return "avx512"
    return "avx2" if "avx2" in flags else "arm64"


def turns(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """The order of each round: who was first is last in the next."""
    for number in range(rounds):
        first = number % len(names)
        yield [*names[first:], *names[:first]]


def alternate(
    workers: Mapping[str, Worker],
    rounds: int,
    action: str,
    title: str,
    *,
    before: Callable[[], None] = lambda: None,
    **arguments: Any,
) -> dict[str, list[dict[str, Any]]]:
    """Have all do the same in turns.

    Args:
        workers: Who takes part.
        rounds: How often each works.
        action: What each does.
        title: What is said of it on stderr.
        before: Called before each round.
        **arguments: The arguments of the action; a function is called with the number of the round.

    Returns:
        By name, the results of the rounds in order.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for number, order in enumerate(turns(list(workers), rounds)):
        console.print(f"{title}: round {number + 1} of {rounds}")
        before()
        given = {name: value(number) if callable(value) else value for name, value in arguments.items()}
        for name in order:
            time.sleep(SETTLE)
            results[name].append(workers[name].ask(action, **given))
    return results
