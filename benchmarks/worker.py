"""The process of a contestant: reads requests from stdin and writes replies to stdout, one line of JSON each.

It runs in the contestant's environment and measures itself. ``contest.py`` sends the requests; contestants take turns,
and all except one sleep.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from engines import Engine, load_engine

STATUS = Path("/proc/self/status")
STATUS_FIELDS = {"now": "VmRSS", "files": "RssFile", "peak": "VmHWM"}
MIB_OF_KIB = 1 / 1024


def memory() -> dict[str, float]:
    """Return the resident memory of this process in MiB: now, the part of it in pages of files, and at its peak."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines() if ":" in line)
        return {name: int(lines[field].split()[0]) * MIB_OF_KIB for name, field in STATUS_FIELDS.items()}
    unit = MIB_OF_KIB**2 if sys.platform == "darwin" else MIB_OF_KIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"now": peak, "files": 0.0, "peak": peak}


class Worker:
    """The actions of a worker: each public method is an action with JSON arguments and a JSON result."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._texts: dict[str, list[str]] = {}
        self._cpu_at_end = time.process_time()

    def load(self, engine: str, **options: Any) -> dict[str, Any]:
        """Load a model; returns the duration and a description."""
        start = time.perf_counter()
        self._engine = load_engine(engine, **options)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "memory": memory(), **self._engine.describe()}

    def texts(self, workload: str, texts: list[str]) -> dict[str, Any]:
        """Store the texts of a workload."""
        self._texts[workload] = texts
        return {"count": len(texts)}

    def run(self, workload: str) -> dict[str, Any]:
        """Embed all texts of a workload in one call."""
        texts, engine = self._texts[workload], self._ready()
        return self._measured(lambda: engine.embed(texts))

    def run_ids(self, workload: str) -> dict[str, Any]:
        """Embed a workload; tokenisation is not measured."""
        engine = self._ready()
        ids = engine.tokenise(self._texts[workload])
        return self._measured(lambda: engine.embed_ids(ids))

    def tokenise(self, workload: str) -> dict[str, Any]:
        """Tokenise all texts of a workload."""
        texts, engine = self._texts[workload], self._ready()
        return self._measured(lambda: engine.tokenise(texts))

    def one_by_one(self, workload: str, start: int, count: int) -> dict[str, Any]:
        """Embed texts one after the other, in a cycle."""
        texts, engine = self._texts[workload], self._ready()
        seconds: list[float] = []

        def work() -> None:
            for number in range(start, start + count):
                text = texts[number % len(texts)]
                before = time.perf_counter()
                engine.embed_one(text)
                seconds.append(time.perf_counter() - before)

        return {**self._measured(work), "seconds": seconds}

    def stages(self, workload: str, count: int) -> dict[str, Any]:
        """Embed texts one after the other; returns the seconds of each stage for each text."""
        return {"stages": self._ready().stages(self._texts[workload][:count])}

    def save(self, workload: str, path: str, count: int) -> dict[str, Any]:
        """Write the vectors of the first texts of a workload to an .npy file, [count, dim]."""
        vectors = self._ready().embed(self._texts[workload][:count])
        np.save(path, vectors)
        return {"shape": list(vectors.shape)}

    def peak(self, precision: str, seconds: float, size: int) -> dict[str, Any]:
        """Multiply large matrices; returns GFLOP (or GOP) per second of CPU time (or of the device)."""
        return {"rate": self._ready().peak(precision, seconds, size)}

    def memory(self) -> dict[str, Any]:
        """Return the resident memory of this process, see ``memory``."""
        return dict(memory())

    def _ready(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("no model is loaded")
        return self._engine

    def _measured(self, work: Callable[[], object]) -> dict[str, Any]:
        """Return CPU seconds and wall time of a function, and the CPU seconds since the previous measurement."""
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        cpu_end = time.process_time()
        measured = {
            "cpu": cpu_end - cpu,
            "wall": time.perf_counter() - wall,
            "idle_cpu": cpu - self._cpu_at_end,
            "memory": memory(),
        }
        self._cpu_at_end = time.process_time()
        return measured


def handle(worker: Worker, line: str) -> dict[str, Any]:
    """Run the action of a request; returns its result or its error."""
    request = json.loads(line)
    action = request.pop("action")
    try:
        if action.startswith("_") or not hasattr(worker, action):
            raise ValueError(f"unknown action {action!r}")  # noqa: TRY301  handled like errors of actions
        return {"result": getattr(worker, action)(**request)}
    except Exception as error:  # noqa: BLE001  sent to the other process
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Handle requests until stdin ends."""
    # Libraries may print to stdout: it is redirected to stderr, and replies use a copy of the original stdout.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        worker = Worker()
        for line in sys.stdin:
            replies.write(json.dumps(handle(worker, line)) + "\n")
            replies.flush()


if __name__ == "__main__":
    main()
