"""The name of the processor, as the system reports it."""

import platform
from functools import cache
from pathlib import Path

CPUINFO_PATH = Path("/proc/cpuinfo")
ARM_NAME_KEYS = ("CPU implementer", "CPU part")  # on ARM, /proc/cpuinfo has no "model name"


@cache
def processor_name() -> str:
    """Return the processor's name as reported by the system; if it is unknown, the machine type, such as ``x86_64``."""
    return name_in(_first_lines(CPUINFO_PATH)) or platform.processor() or platform.machine() or "unknown"


def name_in(cpuinfo: str) -> str:
    """Return the processor name in the text of ``/proc/cpuinfo``; empty if it has none."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    fields = {key.strip(): " ".join(value.split()) for key, _, value in reversed([*pairs])}
    return fields.get("model name", "") or " ".join(f"{key} {fields[key]}" for key in ARM_NAME_KEYS if key in fields)


def _first_lines(path: Path) -> str:
    """Return the entry of the first core; on a machine with many cores the whole file is long."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
