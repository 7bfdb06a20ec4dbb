"""Run contestants in separate processes: one works while the others sleep, and the order rotates with each round."""

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
from models import Model, atomic_folder, form_folder
from vectors import Vectors
from workloads import Workload, prose

HERE = Path(__file__).parent
SETTLE_SECONDS = 0.2  # between contestants: threads that spin after their work go to sleep
CALIBRATION_TEXTS, CALIBRATION_SEED = 400, 20261130
PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # they would mix environments
LOG_TAIL_CHARS = 3000  # of a log in an error message


class ContestantError(RuntimeError):
    """A contestant refused a request, failed or crashed; the message contains its error."""


class Worker:
    """The process of a contestant.

    Attributes:
        name: The name of the contestant.
        about: Its description of the loaded model.
    """

    def __init__(self, name: str, python: Path, home: Path) -> None:
        """Start the process without a model.

        Args:
            name: The name of the contestant.
            python: The Python of its environment.
            home: Its home directory, in which runtimes store files.
        """
        self.name = name
        self.about: dict[str, Any] = {}
        self._log = home / f"{name}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(  # noqa: S603  fixed arguments
                [str(python), str(HERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(home),
                text=True,
                encoding="utf-8",
            )

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Request an action and return its result.

        Raises:
            ContestantError: If the worker refuses, fails or crashes.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ContestantError(f"{self.name}: the worker has no pipes")
        line = ""
        with contextlib.suppress(BrokenPipeError):  # reported below, like an empty reply
            stdin.write(json.dumps({"action": action, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            code = self._process.wait()
            raise ContestantError(f"{self.name}: exited with {code} during {action!r}:\n{log[-LOG_TAIL_CHARS:]}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContestantError(f"{self.name}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Contest:
    """A context manager for loaded contestants that take turns; it ends their processes.

    Attributes:
        workers: The loaded contestants by name, in order.
        left_out: The reasons why others could not be loaded, by name.
    """

    def __init__(self, environments: Path) -> None:
        """Create a contest without contestants.

        Args:
            environments: The folder of environments and exported models.
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
        """Create missing environments and exported models before anything is measured."""
        for contestant in contestants:
            self.load_arguments(contestant, model)

    def load(self, contestants: Sequence[Contestant], model: Model) -> None:
        """Load a model in each contestant; a configuration of Millpond that fails is left out with a message.

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
            console.print(f"Loaded {contestant.label} in {worker.about['seconds']:.1f} s")

    def describe(self) -> dict[str, Any]:
        """Return the descriptions of the contestants, and those that were left out."""
        return {
            "contestants": {name: worker.about for name, worker in self.workers.items()},
            "left_out": dict(self.left_out),
        }

    def start(self, contestant: Contestant) -> Worker:
        """Start the process of a contestant without a model."""
        python = Path(sys.executable)
        if contestant.environment is not None:
            python = python_of(self.environments, contestant.environment)
        return self._start(contestant.name, python)

    def matrices(self, **options: Any) -> Worker:
        """Start a worker that multiplies matrices, to measure the peak of the machine."""
        worker = self._start("matrices", Path(sys.executable))
        worker.about = worker.ask("load", engine="matrices", **options)
        return worker

    def load_arguments(self, contestant: Contestant, model: Model) -> dict[str, Any]:
        """Return the arguments of a worker's load action; exports the model if necessary."""
        folder = form_folder(self.environments, model, contestant)
        if not folder.exists() and contestant.environment is not None:
            self._export(contestant.environment, model, folder)
        return {"engine": contestant.engine, "model": str(folder), **contestant.options}

    def set_workload(self, workload: Workload) -> None:
        """Send the texts of a workload to all workers, and embed them once as a warm-up."""
        for worker in self.workers.values():
            worker.ask("texts", workload=workload.name, texts=list(workload.texts))
            worker.ask("run", workload=workload.name)

    def vectors(self, workload: Workload, count: int) -> dict[str, Vectors]:
        """Return each contestant's vectors of the first texts of a workload, [count, dim]."""
        vectors: dict[str, Vectors] = {}
        for name, worker in self.workers.items():
            path = self._home / f"{name}-{workload.name}.npy"
            worker.ask("save", workload=workload.name, path=str(path), count=count)
            vectors[name] = np.load(path)
        return vectors

    def _start(self, name: str, python: Path) -> Worker:
        worker = Worker(name, python, self._home)
        self._open.callback(worker.close)
        return worker

    def _export(self, environment: str, model: Model, folder: Path) -> None:
        python = python_of(self.environments, environment)
        console.print(f"Exporting {model.name} for {environment}. This is done once.")
        start = time.perf_counter()
        with atomic_folder(folder) as draft:
            how = quantisation_of(processor_flags()) if environment == "onnx" else str(self._calibration(model))
            command = [str(python), str(HERE / "export.py"), environment, str(model.folder), str(draft), how]
            process = subprocess.run(  # noqa: S603  fixed arguments
                command, capture_output=True, text=True, check=False, env=clean_environment(self._home)
            )
            if process.returncode:
                output = process.stdout[-LOG_TAIL_CHARS:] + process.stderr[-LOG_TAIL_CHARS:]
                raise ContestantError(f"{' '.join(command)} failed:\n{output}")
        console.print(f"Exported in {time.perf_counter() - start:.0f} s.")

    def _calibration(self, model: Model) -> Path:
        folder = self._home / "calibration"
        folder.mkdir(exist_ok=True)
        texts = prose(model.tokenizer, CALIBRATION_TEXTS, seed=CALIBRATION_SEED).texts
        rows = "".join(json.dumps({"sentence": text}) + "\n" for text in texts)
        (folder / "train.jsonl").write_text(rows, encoding="utf-8")
        return folder


def clean_environment(home: Path) -> dict[str, str]:
    """Return the environment variables of a worker: a separate home, no network, no variables of Python."""
    excluded = (*PYTHON_VARIABLES, *(name for name in os.environ if name.startswith("XDG_")))
    inherited = {name: value for name, value in os.environ.items() if name not in excluded}
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
    """Return the config of sentence-transformers' dynamic quantisation for a processor."""
    if "avx512_vnni" in flags:
        return "avx512_vnni"
    if "avx512f" in flags:
        return "avx512"
    return "avx2" if "avx2" in flags else "arm64"


def round_orders(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Yield the order of each round: the first of a round is the last of the next."""
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
    """Request the same action from all workers in turns.

    Args:
        workers: The workers by name.
        rounds: The number of rounds.
        action: The action to request.
        title: The title of the progress messages on stderr.
        before: Called before each round.
        **arguments: The arguments of the action; a function is called with the number of the round.

    Returns:
        The results of the rounds in order, by name.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for number, order in enumerate(round_orders(list(workers), rounds)):
        console.print(f"{title}: round {number + 1} of {rounds}")
        before()
        values = {name: value(number) if callable(value) else value for name, value in arguments.items()}
        for name in order:
            time.sleep(SETTLE_SECONDS)
            results[name].append(workers[name].ask(action, **values))
    return results
