"""A contestant in a process of its own: takes commands from stdin and answers on stdout, a line of JSON each.

It is run by the Python of the contestant's environment and measures itself, so that contestants can take turns: all
but one sleep. ``contest.py`` is the other side.
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
MIB_OF_KIB = 1 / 1024


def memory() -> dict[str, float]:
    """The memory of this process now, and the most that it ever had, in MiB."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines() if ":" in line)
        return {
            name: int(lines[field].split()[0]) * MIB_OF_KIB for name, field in (("now", "VmRSS"), ("peak", "VmHWM"))
        }
    unit = MIB_OF_KIB**2 if sys.platform == "darwin" else MIB_OF_KIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"now": peak, "peak": peak}


class Worker:
    """What can be asked for: each public method is an action, its arguments and its result are JSON."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._texts: dict[str, list[str]] = {}
        self._cpu_at_end = time.process_time()

    def load(self, engine: str, **options: Any) -> dict[str, Any]:
        """Load a model; says how long that took and what was loaded."""
        start = time.perf_counter()
        self._engine = load_engine(engine, **options)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "memory": memory(), **self._engine.describe()}

    def texts(self, workload: str, texts: list[str]) -> dict[str, Any]:
        """Keep the texts of a workload."""
        self._texts[workload] = texts
        return {"count": len(texts)}

    def run(self, workload: str) -> dict[str, Any]:
        """Embed all texts of a workload at once."""
        texts, engine = self._texts[workload], self._ready()
        return self._measured(lambda: engine.embed(texts))

    def run_ids(self, workload: str) -> dict[str, Any]:
        """Embed a workload whose texts were tokenised before the clock is started."""
        engine = self._ready()
        ids = engine.tokenise(self._texts[workload])
        return self._measured(lambda: engine.embed_ids(ids))

    def tokenise(self, workload: str) -> dict[str, Any]:
        """Tokenise all texts of a workload, and nothing else."""
        texts, engine = self._texts[workload], self._ready()
        return self._measured(lambda: engine.tokenise(texts))

    def one_by_one(self, workload: str, start: int, count: int) -> dict[str, Any]:
        """Embed single texts, each when the one before is done; they begin anew when they run out."""
        texts, engine = self._texts[workload], self._ready()
        seconds: list[float] = []

        def work() -> None:
            for place in range(start, start + count):
                text = texts[place % len(texts)]
                before = time.perf_counter()
                engine.embed_one(text)
                seconds.append(time.perf_counter() - before)

        return {**self._measured(work), "seconds": seconds}

    def stages(self, workload: str, count: int) -> dict[str, Any]:
        """Embed single texts, and say how long each stage of each took, in seconds."""
        return {"stages": self._ready().stages(self._texts[workload][:count])}

    def device_run(self, workload: str) -> dict[str, Any]:
        """Embed all texts of a workload, and say how long the device computed the model."""
        return self._ready().device_run(self._texts[workload])

    def save(self, workload: str, path: str, count: int) -> dict[str, Any]:
        """Write the vectors of the first texts of a workload to an .npy file, [count, dim]."""
        vectors = self._ready().embed(self._texts[workload][:count])
        np.save(path, vectors)
        return {"shape": list(vectors.shape)}

    def peak(self, precision: str, seconds: float, size: int) -> dict[str, Any]:
        """How fast this machine multiplies large matrices, in GFLOP (or GOP) a second of CPU (or of the device)."""
        return {"rate": self._ready().peak(precision, seconds, size)}

    def memory(self) -> dict[str, Any]:
        """The memory of this process now and at its peak, in MiB."""
        return dict(memory())

    def _ready(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("nothing is loaded yet")
        return self._engine

    def _measured(self, work: Callable[[], object]) -> dict[str, Any]:
        """The CPU seconds of all threads and the wall time of some work; and what was spent while others worked."""
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        ended = time.process_time()
        measured = {
            "cpu": ended - cpu,
            "wall": time.perf_counter() - wall,
            "idle_cpu": cpu - self._cpu_at_end,
            "memory": memory(),
        }
        self._cpu_at_end = time.process_time()
        return measured


def answer(worker: Worker, line: str) -> dict[str, Any]:
    """Do what a line asks for: a result, or the error that came of it."""
    request = json.loads(line)
    action = request.pop("action")
    try:
        if action.startswith("_") or not hasattr(worker, action):
            raise ValueError(f"there is no action {action!r}")  # noqa: TRY301  one way for all errors
        return {"result": getattr(worker, action)(**request)}
    except Exception as error:  # noqa: BLE001  the other side decides what an error means
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer until stdin ends."""
    # Libraries print to stdout what they like: from here on that is stderr, and the answers have a way of their own.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        worker = Worker()
        for line in sys.stdin:
            replies.write(json.dumps(answer(worker, line)) + "\n")
            replies.flush()


if __name__ == "__main__":
    main()
