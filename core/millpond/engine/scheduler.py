"""Scheduler: one queue a group, and batches cut by a budget of tokens. TokenBudget: that budget."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import chain
from math import ceil

from millpond.engine.request import PoolingRequest

SMALLEST_SHARE = 256  # tokens; a batch smaller than this is not worth a worker of its own
PATIENT_PART = 4  # so many times smaller are batches of what is patient while somebody who is not comes now and then
RECENT = 64  # batches for which one who is not patient is remembered
TURN = 8  # of so many batches, one is begun by what has waited longest, whatever its priority

SMALLEST_BUDGET = 256  # tokens; out of memory does not halve the budget further
RAISE = 1.25
SOON, LATE = 64, 4096  # batches without a failure before the budget is raised: at first, and at most

Queue = dict[int, deque[PoolingRequest]]  # what waits in a group, by priority, in the order of arrival


@dataclass
class Scheduler:
    """What waits, in the order of priority and arrival, one queue a group.

    Among several priorities the lowest number goes first, but for one batch in ``TURN``, which is begun by the request
    that has waited longest: no stream of urgent requests starves the others. What is patient, of a priority above 0,
    shares no batch with what is not: a short question must not take as long as a full batch. Nor must it wait for one
    to end: while such questions come, batches of what is patient are smaller.

    Attributes:
        max_num_batched_tokens: The most tokens of a batch; a longer request runs alone.
        max_num_seqs: The most requests of a batch.
        waiting_tokens: The tokens of all that waits.
    """

    max_num_batched_tokens: int
    max_num_seqs: int
    waiting_tokens: int = 0
    _queues: dict[str, Queue] = field(default_factory=dict)
    _waiting: int = 0
    _tickets: int = 0
    _overtaken: int = 0  # batches since what has waited longest had its turn
    _since_urgent: int = RECENT  # batches since one of what is not patient

    def __len__(self) -> int:
        return self._waiting

    def add(self, request: PoolingRequest) -> None:
        """Let a request wait."""
        self._tickets += 1
        request.state.ticket = self._tickets
        queue = self._queues.setdefault(request.group, defaultdict(deque))
        queue[request.state.priority].append(request)
        self._waiting += 1
        self.waiting_tokens += request.num_tokens

    def take(self, workers: int = 1) -> list[PoolingRequest]:
        """The next batch: of the group whose first request is due, as much as the budget holds.

        Args:
            workers: How many workers are idle: what waits is shared among them.
        """
        if self._waiting == 1:
            return self._take_only()
        first = self._due()
        queue = self._queues[first.group]
        self._since_urgent = self._since_urgent + 1 if first.state.priority > 0 else 0
        room = self._budget(queue, workers) - first.num_tokens
        batch = [first]
        self._drop_first(queue, first.state.priority)
        others = sorted(key for key in queue.keys() - {first.state.priority} if (key > 0) == (first.state.priority > 0))
        for priority in (first.state.priority, *others):
            while (waiting := queue.get(priority)) and len(batch) < self.max_num_seqs:
                if waiting[0].num_tokens > room:
                    return self._taken(batch)
                batch.append(waiting[0])
                room -= waiting[0].num_tokens
                self._drop_first(queue, priority)
        return self._taken(batch)

    def _take_only(self) -> list[PoolingRequest]:
        """The batch of all that waits, a single request."""
        ((first,),) = next(iter(self._queues.values())).values()
        self._overtaken = 0
        self._since_urgent = self._since_urgent + 1 if first.state.priority > 0 else 0
        self.clear()
        return [first]

    def clear(self) -> list[PoolingRequest]:
        """Forget all that waits, and return it."""
        waiting = [request for queue in self._queues.values() for request in chain(*queue.values())]
        self._queues.clear()
        self._waiting = self.waiting_tokens = 0
        return waiting

    def drop_cancelled(self) -> list[PoolingRequest]:
        """Forget what was cancelled, and return it; the rest keeps its order."""
        dropped: list[PoolingRequest] = []
        for group, queue in list(self._queues.items()):
            for priority, waiting in list(queue.items()):
                gone = [request for request in waiting if request.state.cancelled]
                if gone:
                    dropped += gone
                    queue[priority] = deque(request for request in waiting if not request.state.cancelled)
                if not queue[priority]:
                    del queue[priority]
            if not queue:
                del self._queues[group]
        self._waiting -= len(dropped)
        self.waiting_tokens -= sum(request.num_tokens for request in dropped)
        return dropped

    def _due(self) -> PoolingRequest:
        """The request that begins the next batch."""
        heads = [waiting[0] for queue in self._queues.values() for waiting in queue.values()]
        due = min(heads, key=lambda request: (request.state.priority, request.state.ticket))
        oldest = min(heads, key=lambda request: request.state.ticket)
        self._overtaken = self._overtaken + 1 if oldest.state.priority > due.state.priority else 0
        if self._overtaken < TURN:
            return due
        self._overtaken = 0
        return oldest

    def _budget(self, queue: Queue, workers: int) -> int:
        most = self.max_num_batched_tokens
        if 0 < self._since_urgent < RECENT:
            most = min(max(most // PATIENT_PART, SMALLEST_SHARE), most)
        if self.waiting_tokens >= workers * self.max_num_batched_tokens:
            return most
        share = -(-sum(request.num_tokens for request in chain(*queue.values())) // workers)
        return min(max(share, SMALLEST_SHARE), most)

    def _drop_first(self, queue: Queue, priority: int) -> None:
        queue[priority].popleft()
        if not queue[priority]:
            del queue[priority]

    def _taken(self, batch: list[PoolingRequest]) -> list[PoolingRequest]:
        self._waiting -= len(batch)
        self.waiting_tokens -= sum(request.num_tokens for request in batch)
        if not self._queues[batch[0].group]:
            del self._queues[batch[0].group]
        return batch


class TokenBudget:
    """The tokens of a batch.

    What took the memory may be gone a minute later, or never. So the budget is raised a step whenever enough batches
    have succeeded, and takes twice as many of them after each step that was one too many.

    Attributes:
        most: What was configured.
        tokens: What holds at present.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.tokens = most
        self._needed = SOON
        self._succeeded = 0
        self._was_raised = False

    def shrink(self, tokens: int) -> None:
        """Allow no more than so many; batches that fail side by side do it once, and none makes them larger.

        Args:
            tokens: Half of the batch that was too large.
        """
        self._succeeded = 0
        smaller = min(self.tokens, max(tokens, SMALLEST_BUDGET))
        if smaller == self.tokens:
            return
        self.tokens = smaller
        if self._was_raised:
            self._needed = min(2 * self._needed, LATE)
            self._was_raised = False

    def succeed(self) -> None:
        """Note a batch that was computed."""
        if self.tokens >= self.most:
            return
        self._succeeded += 1
        if self._succeeded < self._needed:
            return
        self._succeeded = 0
        self._was_raised = True
        self.tokens = min(self.most, ceil(RAISE * self.tokens))
