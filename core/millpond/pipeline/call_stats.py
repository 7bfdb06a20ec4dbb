"""CallStats: timings and counts of calls of ``AsyncLLM``, for callers that measure them, such as a server."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.types.outputs import PoolingRequestOutput

Stage = Literal["tokenise", "queue", "compute", "finish"]


@dataclass
class CallStats:
    """Timings and counts, summed over all calls of ``AsyncLLM`` for which these are the current stats.

    Attributes:
        tokenise_seconds: Time from prompts to token ids, including the wait for a thread and the look-up in the cache.
        queue_seconds: Time until the first batch starts.
        compute_seconds: Time from there to the end of the last batch.
        finish_seconds: Time from there to the outputs.
        prompts: Number of prompts.
        tokens: Number of their tokens.
        truncated: Number of truncated prompts.
        duplicates: Number of prompts that were not computed because an equal one was in the same call.
        cache_hits: Number of sequences whose results were in the cache.
        cache_misses: Number of sequences that were looked up in the cache and computed.
        stages: The stages of all calls: name, start and end, by ``time.perf_counter``, in the order of their ends.
    """

    tokenise_seconds: float = 0.0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    finish_seconds: float = 0.0
    prompts: int = 0
    tokens: int = 0
    truncated: int = 0
    duplicates: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    stages: list[tuple[Stage, float, float]] = field(default_factory=list)

    def add_stage(self, stage: Stage, began: float, ended: float) -> None:
        """Add a stage, with its start and end by ``time.perf_counter``."""
        name = f"{stage}_seconds"
        setattr(self, name, getattr(self, name) + (ended - began))
        self.stages.append((stage, began, ended))

    def count(self, outputs: "Iterable[PoolingRequestOutput[Any]]") -> None:
        """Add the outputs of a call."""
        for output in outputs:
            self.prompts += 1
            self.tokens += len(output.prompt_token_ids)
            self.truncated += output.num_dropped_tokens > 0


# Set it, then await calls: their timings are added to it, also from asyncio tasks that are started meanwhile.
current_stats: ContextVar[CallStats | None] = ContextVar("current_stats", default=None)
