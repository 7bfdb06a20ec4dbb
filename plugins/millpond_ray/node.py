"""The resources of an actor on its node: devices, worker threads, and files of models that actors share."""

# pyright: reportMissingImports=false
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from filelock import FileLock, Timeout

_RESERVED: dict[int, FileLock] = {}


def arguments_on_node(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of ``millpond.LLM`` that use the resources of the running actor, and no others.

    An actor without a GPU computes on the CPU. On the CPU it has one worker for each of its ``num_cpus``; the default
    of ``LLM`` would be one for each core of the machine, in every actor.

    Args:
        arguments: The arguments of the caller, which take precedence.
    """
    resources = ray.get_runtime_context().get_assigned_resources()
    chosen = {"num_workers": max(1, int(resources.get("CPU", 1)))}
    return chosen | ({} if resources.get("GPU") else {"device": "cpu"}) | arguments


@contextmanager
def fetching(model: str, arguments: dict[str, Any]) -> Iterator[None]:
    """Let one process of a node resolve a model at a time: the first downloads its files, the others find them.

    Args:
        model: The name of the model.
        arguments: Its arguments of ``millpond.LLM``.
    """
    key = [model, arguments.get("revision"), arguments.get("download_dir")]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"millpond-fetch-{name}.lock", mode=0o666):
        yield


def limit_process() -> None:
    """Limit this process to the resources of its actor: the CPU if it has no GPU, and the cores of its ``num_cpus``.

    Cores are reserved by locks on files, which the system releases when a process ends, so actors of a node compute on
    different cores. An actor that finds fewer free cores uses all.
    """
    resources = ray.get_runtime_context().get_assigned_resources()
    if not resources.get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    wanted = max(1, int(resources.get("CPU", 1)))
    if wanted < len(cores):
        reserved = list(islice(filter(_reserve, cores), wanted))
        if len(reserved) == wanted:
            os.sched_setaffinity(0, reserved)


def _reserve(core: int) -> bool:
    """Lock a core until this process ends; False if another process has it."""
    if core in _RESERVED:
        return True
    lock = FileLock(Path(tempfile.gettempdir()) / f"millpond-core-{core}.lock", mode=0o666)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    _RESERVED[core] = lock
    return True
