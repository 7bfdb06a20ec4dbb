"""CallStats: what a call of ``AsyncLLM`` took and found, for who measures it, such as a server."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millpond.types.outputs import PoolingRequestOutput

Stage = Literal["tokenise", "queue", "compute", "finish"]


@dataclass
class CallStats:
    """What the calls of ``AsyncLLM`` took that were made while this was the current one; they add up.

    Attributes:
        tokenise_seconds: From prompts to token ids, with the wait for a thread that does it.
        queue_seconds: From there to the start of the first batch.
        compute_seconds: From there to the end of the last batch.
        finish_seconds: From there to the outputs.
        prompts: The prompts that were computed.
        tokens: Their tokens.
        truncated: The prompts that were cut.
        duplicates: The prompts that had an equal one beside them, and were not computed.
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
    stages: list[tuple[Stage, float, float]] = field(default_factory=list)

    def took(self, stage: Stage, began: float, ended: float) -> None:
        """Take in a stage, with its start and its end by ``time.perf_counter``."""
        name = f"{stage}_seconds"
        setattr(self, name, getattr(self, name) + (ended - began))
        self.stages.append((stage, began, ended))

    def count(self, outputs: "Iterable[PoolingRequestOutput[Any]]") -> None:
        """Take in the outputs of a call."""
        for output in outputs:
            self.prompts += 1
            self.tokens += len(output.prompt_token_ids)
            self.truncated += output.truncated


# Set it, then await calls: what they took is added to it, also by calls of tasks that are started from there.
current_stats: ContextVar[CallStats | None] = ContextVar("current_stats", default=None)
