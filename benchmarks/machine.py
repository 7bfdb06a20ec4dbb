"""The description of the machine that figures were measured on."""

import os
import platform
import subprocess
from pathlib import Path

from processors import LIMITS

CPUINFO = Path("/proc/cpuinfo")
# The flags that determine the speed of matrix products.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm", "bf16")


def processor_flags() -> frozenset[str]:
    """Return the processor's flags in /proc/cpuinfo; empty on other systems than Linux."""
    return frozenset(_field("flags").split()) | frozenset(_field("Features").split())


def describe_machine() -> dict[str, object]:
    """Return the processor, the memory, the system, its load, and the revision of the sources."""
    available = processor_flags()
    return {
        "processor": _field("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in available],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "threads_set": {name: os.environ[name] for name in sorted(os.environ) if name.endswith("_NUM_THREADS")},
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "revision": _revision(),
    }


def _field(name: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; empty if it is missing."""
    if not CPUINFO.exists():
        return ""
    for line in CPUINFO.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _revision() -> str:
    """Return the current commit, with a plus sign if files differ from it; empty without git."""
    folder = Path(__file__).parent
    try:
        head = _git(folder, "rev-parse", "--short", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  fixed arguments
