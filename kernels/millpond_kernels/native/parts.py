"""Work that is cut into parts for several threads: compiled code runs on the thread that calls it, and no other."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

LEAST_COST = 20_000_000  # operations of a part; below, handing it to a thread takes longer than it saves


def in_parts(work: Callable[[int, int], None], count: int, *, cost: int) -> None:
    """Call ``work(start, stop)`` so that all of ``count`` is done, on as many threads as torch would use here.

    The engine's workers use one each, so they never meet in the threads of others.

    Args:
        work: What is to be done from a place up to another.
        count: How many places there are.
        cost: The operations that all of it takes.
    """
    parts = min(torch.get_num_threads(), count, cost // LEAST_COST)
    if parts <= 1:
        work(0, count)
        return
    stops = [count * part // parts for part in range(parts + 1)]
    others = [_threads(os.getpid(), parts - 1).submit(work, *stops[part : part + 2]) for part in range(1, parts)]
    work(stops[0], stops[1])
    for other in others:
        other.result()


@cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:  # noqa: ARG001  a fork has no threads: it makes its own
    return ThreadPoolExecutor(count, thread_name_prefix="millpond-part")
