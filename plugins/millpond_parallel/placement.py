"""Placement of engine processes: a device for each, and a fair part of the cores for those on the CPU."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from millpond.machine import available_cores
from millpond.types.errors import InvalidInputError
from millpond.types.parallel import ParallelOptions

T = TypeVar("T")
NODES = Path("/sys/devices/system/node")
CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Placement:
    """The place of an engine process.

    Attributes:
        device: The name of its device.
        cores: The cores it is pinned to; empty to use those of this process.
        num_cores: The number of cores it may use.
    """

    device: str
    cores: tuple[int, ...] = ()
    num_cores: int = 1


def place(options: ParallelOptions, device: torch.device) -> list[Placement]:
    """Return the placement of each engine process.

    Args:
        options: The number of processes, and their devices if the user chose them.
        device: The device that the model would have in a single process.

    Raises:
        InvalidInputError: If there are fewer GPUs than processes.
    """
    names = options.devices or _devices(options.size, device)
    on_cpu = [index for index, name in enumerate(names) if name.partition(":")[0] == "cpu"]
    cores = dict(zip(on_cpu, split_cores(len(on_cpu)), strict=True)) if on_cpu else {}
    return [
        Placement(name, *cores[index]) if index in cores else Placement(name, (), available_cores())
        for index, name in enumerate(names)
    ]


def split_cores(count: int) -> list[tuple[tuple[int, ...], int]]:
    """Return the cores, and their number, for each of several processes on the CPU.

    Each process gets cores of one NUMA node if there are enough processes, else whole nodes. Threads of one physical
    core stay together. Where cores cannot be chosen, or are fewer than processes, the system schedules the processes.
    """
    total = available_cores()
    if not hasattr(os, "sched_setaffinity") or total < count:
        return [((), max(total // count, 1))] * count
    nodes = numa_nodes(sorted(os.sched_getaffinity(0)))
    if count < len(nodes):
        parts: list[Sequence[int]] = [[core for node in part for core in node] for part in _split(nodes, count)]
    else:
        shares = _shares([len(node) for node in nodes], count)
        parts = [part for node, share in zip(nodes, shares, strict=True) for part in _split(node, share)]
    return [(tuple(part), len(part)) for part in parts]


def numa_nodes(cores: Sequence[int]) -> list[list[int]]:
    """Return the cores of each NUMA node that has any of them, with the threads of a physical core side by side."""
    remaining, nodes = set(cores), list[list[int]]()
    for path in sorted(NODES.glob("node[0-9]*"), key=lambda it: int(it.name.removeprefix("node"))):
        node = [core for core in _listed(path / "cpulist") if core in remaining]
        remaining.difference_update(node)
        nodes.append(node)
    nodes.append(sorted(remaining))
    return [sorted(node, key=lambda core: (_first_thread(core), core)) for node in nodes if node]


def _devices(size: int, device: torch.device) -> list[str]:
    if device.type != "cuda":
        return [str(device)] * size
    if device.index is not None:
        message = (
            f"device='{device}' is one device for data_parallel_size={size}: pass the device of each engine, such as "
            f"devices='{','.join([str(device)] * size)}'"
        )
        raise InvalidInputError(message, parameter="device")
    count = torch.cuda.device_count()
    if count < size:
        shared = ",".join(f"cuda:{index % count}" for index in range(size))
        message = (
            f"data_parallel_size={size}, but this machine has {count} GPU{'s' if count > 1 else ''}: reduce it, or "
            f"place several engines on a GPU with devices='{shared}'"
        )
        raise InvalidInputError(message, parameter="data_parallel_size")
    return [f"cuda:{index}" for index in range(size)]


def _split(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """Yield a number of parts of almost the same length."""
    for index in range(count):
        yield items[len(items) * index // count : len(items) * (index + 1) // count]


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """Return the number of processes for each NUMA node: at least one, then where the cores per process are most."""
    shares = [1] * len(sizes)
    for _ in range(count - len(sizes)):
        index = max(range(len(sizes)), key=lambda node: sizes[node] / shares[node])
        shares[index] += 1
    return shares


def _listed(path: Path) -> list[int]:
    """Return the numbers in a list such as ``0-3,8-11``."""
    numbers: list[int] = []
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1) if first else ()
    return numbers


def _first_thread(core: int) -> int:
    """Return the lowest number among the hardware threads of the same physical core; the core itself if unknown."""
    try:
        return _listed(CPUS / f"cpu{core}" / "topology" / "thread_siblings_list")[0]
    except (OSError, ValueError, IndexError):
        return core
