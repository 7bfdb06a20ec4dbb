"""Scheduler: one queue a group, and batches cut by a budget of tokens. Knows nothing of models."""

import heapq
from collections import defaultdict
from dataclasses import dataclass, field

from millpond.engine.request import PoolingRequest

SMALLEST_SHARE = 256  # tokens; a batch smaller than this is not worth a worker of its own


@dataclass
class Scheduler:
    """What waits, in the order of priority and arrival, one queue a group.

    Attributes:
        max_num_batched_tokens: The most tokens of a batch; a longer request runs alone.
        max_num_seqs: The most requests of a batch.
        waiting_tokens: The tokens of all that waits.
    """

    max_num_batched_tokens: int
    max_num_seqs: int
    waiting_tokens: int = 0
    _queues: dict[str, list[tuple[int, int, PoolingRequest]]] = field(default_factory=lambda: defaultdict(list))
    _tickets: int = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, request: PoolingRequest) -> None:
        """Let a request wait."""
        self._tickets += 1
        request.ticket = self._tickets
        heapq.heappush(self._queues[request.group], (request.priority, request.ticket, request))
        self.waiting_tokens += request.num_tokens

    def take(self, workers: int = 1) -> list[PoolingRequest]:
        """The next batch: of the group whose first request is due, as much as the budget holds.

        Args:
            workers: How many workers are idle: what waits is shared among them.
        """
        due = min((queue[0][:2], group) for group, queue in self._queues.items() if queue)[1]
        queue = self._queues[due]
        share = -(-sum(entry[2].num_tokens for entry in queue) // workers) if self._is_short(workers) else None
        budget = self.max_num_batched_tokens if share is None else max(share, SMALLEST_SHARE)
        budget = min(budget, self.max_num_batched_tokens)
        batch = [self._pop(queue)]
        room = budget - batch[0].num_tokens
        while queue and len(batch) < self.max_num_seqs and queue[0][2].num_tokens <= room:
            batch.append(self._pop(queue))
            room -= batch[-1].num_tokens
        if not queue:
            del self._queues[due]
        return batch

    def clear(self) -> list[PoolingRequest]:
        """Forget all that waits, and return it."""
        waiting = [entry[2] for queue in self._queues.values() for entry in queue]
        self._queues.clear()
        self.waiting_tokens = 0
        return waiting

    def _is_short(self, workers: int) -> bool:
        return self.waiting_tokens < workers * self.max_num_batched_tokens

    def _pop(self, queue: list[tuple[int, int, PoolingRequest]]) -> PoolingRequest:
        request = heapq.heappop(queue)[2]
        self.waiting_tokens -= request.num_tokens
        return request
