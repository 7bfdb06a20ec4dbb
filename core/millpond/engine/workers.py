"""Worker threads: each takes jobs from a queue, in order, and reports their outcomes."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic

import torch

from millpond.engine.executor import Outcome
from millpond.nn.threads import ThreadBudget

CLOSE_TIMEOUT_S = 10.0  # for all workers; longer than a batch, and a model that hangs must not block interpreter exit


# Functions that a worker calls, each with the receiver of its outcome, called on the same thread; None ends one worker.
Jobs = SimpleQueue[tuple[Callable[[], Outcome], Callable[[Outcome], None]] | None]


def start_workers(jobs: Jobs, count: int, budget: ThreadBudget) -> list[threading.Thread]:
    """Start workers that compute in one thread each, and wait until all are ready."""
    threads = torch.get_num_threads()
    ready = threading.Barrier(count + 1)
    workers = [
        threading.Thread(target=_run_worker, args=(jobs, budget, ready), name=f"millpond-worker-{number}", daemon=True)
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    # set_num_threads in a worker also changes the default of threads that start later: restore it.
    torch.set_num_threads(threads)
    return workers


def _run_worker(jobs: Jobs, budget: ThreadBudget, ready: threading.Barrier) -> None:
    torch.get_num_threads()  # otherwise torch initializes this thread later, with the caller's number of threads
    torch.set_num_threads(1)
    budget.join()
    ready.wait()
    with torch.inference_mode():
        while (job := jobs.get()) is not None:
            compute, done = job
            with budget:
                done(compute())
            del job, compute, done  # otherwise the waiting worker would keep the runner alive


def stop_workers(jobs: Jobs, workers: list[threading.Thread]) -> None:
    """Stop the workers and wait for them: a thread that is inside torch at interpreter exit crashes the process."""
    for _ in workers:
        jobs.put(None)
    deadline = monotonic() + CLOSE_TIMEOUT_S
    for worker in workers:
        if worker is not threading.current_thread():
            worker.join(max(deadline - monotonic(), 0))
