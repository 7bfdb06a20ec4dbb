"""The machine as far as speed depends on it: its processor's name, and the cores that this process may use."""

import os
import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
ARM = ("CPU implementer", "CPU part")  # where Linux states no name


def available_cores() -> int:
    """The cores that this process may use: fewer than the machine has under ``taskset`` or in a container's cpuset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor_name() -> str:
    """The processor's name as the system states it; else the kind of machine, such as ``x86_64``."""
    return name_in(_first_lines(CPUINFO)) or platform.processor() or platform.machine() or "unknown"


def name_in(cpuinfo: str) -> str:
    """The name in the text of ``/proc/cpuinfo``; empty if there is none."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    stated = {key.strip(): " ".join(value.split()) for key, _, value in reversed([*pairs])}
    return stated.get("model name", "") or " ".join(f"{key} {stated[key]}" for key in ARM if key in stated)


def _first_lines(path: Path) -> str:
    """What is said of the first core: on a large machine the others are a long way to read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
