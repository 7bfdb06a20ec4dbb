"""Scheduler: one queue per group, batches limited by a token budget that depends on the device and its memory."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import chain
from math import ceil

import torch

from millpond.engine.request import PoolingRequest
from millpond.types.config import EngineConfig

# A batch is small for a CPU's caches, and large for the many units of an accelerator.
CPU_TOKENS, CPU_SEQS = 1024, 512
ACCELERATOR_TOKENS, ACCELERATOR_SEQS = 8192, 4096
MIN_CUDA_TOKENS, MAX_CUDA_TOKENS = 4096, 65_536
BYTES_PER_TOKEN = 2**20  # enough for most models; if it is not, batches become smaller

MIN_SHARE_TOKENS = 256  # a smaller batch does not justify using another worker
BATCH_PRIORITY_DIVISOR = 4  # batches of priority above 0 are this many times smaller while interactive requests arrive
INTERACTIVE_WINDOW_BATCHES = 64  # interactive requests count as arriving until this many batches later
OLDEST_FIRST_INTERVAL = 8  # one batch, or token, in this many is for the oldest requests, regardless of their priority

MIN_BUDGET_TOKENS = 256  # out of memory does not halve the budget further
BUDGET_RAISE_FACTOR = 1.25
INITIAL_RAISE_AFTER_BATCHES = 64  # batches without a failure before the budget is raised
MAX_RAISE_AFTER_BATCHES = 4096

Queue = dict[int, deque[PoolingRequest]]  # the waiting requests of a group by priority, in the order of arrival


@dataclass
class Scheduler:
    """The waiting requests, ordered by priority and arrival, with one queue per group.

    The lowest priority number goes first, except for one batch in ``OLDEST_FIRST_INTERVAL``, which starts with the
    oldest request: a stream of urgent requests does not starve the others. Interactive requests (priority 0 or lower)
    and batch requests (priority above 0) never share a batch, so that a short query does not take as long as a full
    batch. While interactive requests arrive, batches of batch requests are smaller, so that the wait for them is short;
    they are due more often in return, so that they contain one token in ``OLDEST_FIRST_INTERVAL``.

    The maximum number of tokens shrinks when memory runs out. Memory that something else took may be free again soon,
    or never. Therefore it is raised a step after a number of successful batches, and this number doubles after each
    raise that ran out of memory again.

    Attributes:
        max_num_batched_tokens: Maximum number of tokens of a batch; a longer request runs alone.
        max_num_seqs: Maximum number of requests of a batch.
        waiting_tokens: The tokens of all waiting requests.
        num_waiting: The number of waiting requests.
    """

    max_num_batched_tokens: int
    max_num_seqs: int
    waiting_tokens: int = 0
    num_waiting: int = 0
    _queues: dict[str, Queue] = field(default_factory=dict)
    _tickets: int = 0
    _overtaken: int = 0  # batches since the oldest request went first
    _overtaking_tokens: int = 0  # their tokens, less those for which the oldest requests had a turn
    _since_interactive: int = INTERACTIVE_WINDOW_BATCHES  # batches since the last one of interactive requests
    _raise_after: int = INITIAL_RAISE_AFTER_BATCHES
    _succeeded: int = 0  # batches since the last change of ``max_num_batched_tokens``
    _was_raised: bool = False

    def __post_init__(self) -> None:
        self._configured_tokens = self.max_num_batched_tokens

    def add(self, request: PoolingRequest) -> None:
        """Add a request to its queue."""
        self._tickets += 1
        request.state.ticket = self._tickets
        queue = self._queues.setdefault(request.group, defaultdict(deque))
        queue[request.state.priority].append(request)
        self.num_waiting += 1
        self.waiting_tokens += request.num_tokens

    def take(self, workers: int = 1) -> list[PoolingRequest]:
        """Remove and return the next batch: requests of the group whose first request is due, within the budget.

        Args:
            workers: The number of idle workers, among which the waiting requests are divided.
        """
        if self.num_waiting == 1:
            return self._take_only()
        first = self._due()
        queue = self._queues[first.group]
        self._since_interactive = self._since_interactive + 1 if first.state.priority > 0 else 0
        tokens_left = self._budget(queue, first.state.priority, workers) - first.num_tokens
        batch = [first]
        self._drop_first(queue, first.state.priority)
        others = sorted(key for key in queue.keys() - {first.state.priority} if (key > 0) == (first.state.priority > 0))
        for priority in (first.state.priority, *others):
            while (waiting := queue.get(priority)) and len(batch) < self.max_num_seqs:
                if waiting[0].num_tokens > tokens_left:
                    return self._taken(batch)
                batch.append(waiting[0])
                tokens_left -= waiting[0].num_tokens
                self._drop_first(queue, priority)
        return self._taken(batch)

    def _take_only(self) -> list[PoolingRequest]:
        """Remove and return the only waiting request, as a batch."""
        ((first,),) = next(iter(self._queues.values())).values()
        self._overtaken = self._overtaking_tokens = 0
        self._since_interactive = self._since_interactive + 1 if first.state.priority > 0 else 0
        self._queues.clear()
        self.num_waiting = self.waiting_tokens = 0
        return [first]

    def clear(self) -> list[PoolingRequest]:
        """Remove and return all waiting requests."""
        waiting = [request for queue in self._queues.values() for request in chain(*queue.values())]
        self._queues.clear()
        self.num_waiting = self.waiting_tokens = 0
        return waiting

    def drop_cancelled(self) -> list[PoolingRequest]:
        """Remove and return cancelled requests; the others keep their order."""
        dropped: list[PoolingRequest] = []
        for group, queue in list(self._queues.items()):
            for priority, waiting in list(queue.items()):
                cancelled = dict.fromkeys(request for request in waiting if request.state.cancelled)
                if cancelled:
                    dropped += cancelled
                    queue[priority] = deque(request for request in waiting if request not in cancelled)
                if not queue[priority]:
                    del queue[priority]
            if not queue:
                del self._queues[group]
        self.num_waiting -= len(dropped)
        self.waiting_tokens -= sum(request.num_tokens for request in dropped)
        return dropped

    def shrink(self, tokens: int) -> None:
        """Reduce the tokens of batches to a number; concurrent batches that fail together reduce them only once.

        Args:
            tokens: Half of the batch that was too large.
        """
        self._succeeded = 0
        smaller = min(self.max_num_batched_tokens, max(tokens, MIN_BUDGET_TOKENS))
        if smaller == self.max_num_batched_tokens:
            return
        self.max_num_batched_tokens = smaller
        if self._was_raised:
            self._raise_after = min(2 * self._raise_after, MAX_RAISE_AFTER_BATCHES)
            self._was_raised = False

    def succeed(self) -> None:
        """Count a batch that was computed."""
        if self.max_num_batched_tokens >= self._configured_tokens:
            return
        self._succeeded += 1
        if self._succeeded >= self._raise_after:
            self._succeeded, self._was_raised = 0, True
            raised = ceil(BUDGET_RAISE_FACTOR * self.max_num_batched_tokens)
            self.max_num_batched_tokens = min(self._configured_tokens, raised)

    def _due(self) -> PoolingRequest:
        """Return the request that starts the next batch."""
        heads = [waiting[0] for queue in self._queues.values() for waiting in queue.values()]
        due = min(heads, key=lambda request: (request.state.priority, request.state.ticket))
        oldest = min(heads, key=lambda request: request.state.ticket)
        if oldest.state.priority <= due.state.priority:
            self._overtaken = self._overtaking_tokens = 0
            return due
        self._overtaken += 1
        overtaking_tokens = (OLDEST_FIRST_INTERVAL - 1) * max(self._limit(oldest.state.priority), oldest.num_tokens)
        if self._overtaken < OLDEST_FIRST_INTERVAL and self._overtaking_tokens < overtaking_tokens:
            return due
        self._overtaken, self._overtaking_tokens = 0, max(self._overtaking_tokens - overtaking_tokens, 0)
        return oldest

    def _limit(self, priority: int) -> int:
        """Return the maximum number of tokens of a batch of that priority."""
        limit = self.max_num_batched_tokens
        if priority > 0 and self._since_interactive < INTERACTIVE_WINDOW_BATCHES:
            return min(max(limit // BATCH_PRIORITY_DIVISOR, MIN_SHARE_TOKENS), limit)
        return limit

    def _budget(self, queue: Queue, priority: int, workers: int) -> int:
        limit = self._limit(priority)
        if self.waiting_tokens >= workers * self.max_num_batched_tokens:
            return limit
        share = -(-sum(request.num_tokens for request in chain(*queue.values())) // workers)
        return min(max(share, MIN_SHARE_TOKENS), limit)

    def _drop_first(self, queue: Queue, priority: int) -> None:
        queue[priority].popleft()
        if not queue[priority]:
            del queue[priority]

    def _taken(self, batch: list[PoolingRequest]) -> list[PoolingRequest]:
        num_tokens = sum(request.num_tokens for request in batch)
        self.num_waiting -= len(batch)
        self.waiting_tokens -= num_tokens
        self._overtaking_tokens += num_tokens if self._overtaken else 0
        if not self._queues[batch[0].group]:
            del self._queues[batch[0].group]
        return batch


def batch_limits(config: EngineConfig, device: torch.device) -> tuple[int, int]:
    """Return the maximum number of tokens and of prompts of a batch: those of the config, else those for the device.

    The limits of a CUDA device follow from its total memory, not from what is free, so that they, and the rounding that
    depends on the size of batches, are the same in each run.
    """
    is_cpu = device.type == "cpu"
    tokens = config.max_num_batched_tokens or (CPU_TOKENS if is_cpu else _accelerator_tokens(device))
    return tokens, config.max_num_seqs or (CPU_SEQS if is_cpu else ACCELERATOR_SEQS)


def _accelerator_tokens(device: torch.device) -> int:
    if device.type != "cuda" or not torch.cuda.is_available():
        return ACCELERATOR_TOKENS
    fitting = torch.cuda.get_device_properties(device).total_memory // BYTES_PER_TOKEN
    power_of_two = 1 << max(fitting.bit_length() - 1, 0)  # the largest one that is at most the number
    return min(max(power_of_two, MIN_CUDA_TOKENS), MAX_CUDA_TOKENS)
