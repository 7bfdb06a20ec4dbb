"""The kinds of processors that results are published for, by the instructions that a run could use."""

from collections.abc import Mapping
from typing import Any

# From the fastest to the slowest; a processor belongs to the first kind whose flag it has.
PROCESSOR_KINDS: Mapping[str, tuple[str, str]] = {
    "amx": ("amx_int8", "AMX"),
    "avx512-vnni": ("avx512_vnni", "AVX-512 VNNI"),
    "avx512": ("avx512f", "AVX-512 without VNNI"),
    "avx-vnni": ("avx_vnni", "AVX2 with AVX-VNNI"),
    "avx2": ("avx2", "AVX2"),
    "i8mm": ("i8mm", "aarch64 with i8mm"),
    "dotprod": ("asimddp", "aarch64 with dot products"),
}
OTHER = "other"
LIMIT, KERNEL_LIMIT = "ATEN_CPU_CAPABILITY", "MILLPOND_CPU_LEVEL"  # torch has no level for AVX-VNNI
LIMITED = "limited-to-"
# Variables that limit the instructions of torch, of Millpond's compiled kernels, and of the libraries that torch uses.
LIMITS = (LIMIT, KERNEL_LIMIT, "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def kind_of(machine: Mapping[str, Any]) -> str:
    """Return the kind of a described machine: a key of PROCESSOR_KINDS, "other", or "limited-to-" and a key."""
    limits = machine.get("limits", {})
    if LIMIT in limits:
        return f"{LIMITED}{limits.get(KERNEL_LIMIT, limits[LIMIT]).replace('_', '-')}"
    return next((kind for kind, (flag, _) in PROCESSOR_KINDS.items() if flag in machine["flags"]), OTHER)


def title_of(kind: str) -> str:
    """Return the heading of a kind."""
    if kind.startswith(LIMITED):
        return f"A larger processor, limited to {title_of(kind.removeprefix(LIMITED))}"
    return PROCESSOR_KINDS[kind][1] if kind in PROCESSOR_KINDS else "Other processors"


def ordered(kinds: list[str]) -> list[str]:
    """Return kinds in the order of the page: real processors from the fastest to the slowest, then limited ones."""
    order = [*PROCESSOR_KINDS, OTHER, *(f"{LIMITED}{kind}" for kind in PROCESSOR_KINDS)]
    return sorted(kinds, key=lambda kind: (order.index(kind) if kind in order else len(order), kind))
