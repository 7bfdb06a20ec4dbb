"""PoolingRequest: one sequence on its way through the engine, and what is wanted of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.types.errors import MillpondError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Representation(NamedTuple):
    """What is wanted of a sequence: the result of a task's pooler, with its parameters.

    Attributes:
        task: The pooler's task.
        params: What is asked of it.
        span: The tokens that are pooled, from a place up to another; None for all.
    """

    task: str
    params: PoolingParams
    span: tuple[int, int] | None = None


@dataclass(eq=False, slots=True)
class RequestState:
    """The way of a request through the engine; set by the pipeline and the engine, not by IO processors.

    Attributes:
        priority: A lower one is served first.
        owner: The jobs of the pipeline that wait for it; None before and after.
        on_done: Called by the engine's thread when results or error are there.
        cancelled: Set by the caller, from any thread: the request is dropped unless its batch runs already.
        ticket: Its place in the order of arrival.
        started: When its batch was started, by ``time.perf_counter``; 0.0 before.
        advanced: When its batch last made progress, by the same clock: at its start, or with a layer; of the first
            request of a batch alone.
    """

    priority: int = 0
    owner: Any = None
    on_done: "Callable[[PoolingRequest], None] | None" = None
    cancelled: bool = False
    ticket: int = 0
    started: float = 0.0
    advanced: float = 0.0


@dataclass(eq=False, kw_only=True, slots=True)
class PoolingRequest:
    """One sequence on its way through the engine.

    Attributes:
        input_ids: The token ids, [num_tokens], int64.
        representations: What is wanted of it; all from one forward pass.
        token_type_ids: The segment of each token, [num_tokens]; None if all are 0.
        features: Raw inputs, such as pixels.
        route: The route that it takes, of a model whose queries and documents take different ones; else empty.
        group: Only requests of one group share a batch.
        note: For IO processors of the contract before 0.2; others derive from ``Work``.
        is_ready: True if results or error are there: the IO processor made them, or the engine is done.
        num_dropped_tokens: How many tokens truncation cut off.
        whole: The ids of the whole prompt, [num_tokens], where several requests are made of it; else None.
        results: One array for each representation, once it is done.
        error: Why there are none.
        state: Its way through the engine.
    """

    input_ids: "NDArray[np.int64]"
    representations: tuple[Representation, ...]
    token_type_ids: "NDArray[np.int64] | None" = None
    features: Mapping[str, object] = field(default_factory=dict)
    route: str = ""
    group: str = "text"
    note: object = None
    is_ready: bool = False
    num_dropped_tokens: int = 0
    whole: "NDArray[np.int64] | None" = None
    results: "list[NDArray[np.float32]]" = field(default_factory=list)
    error: MillpondError | None = None
    state: RequestState = field(default_factory=RequestState)

    @property
    def num_tokens(self) -> int:
        """The tokens it adds to a batch, at least 1."""
        return max(len(self.input_ids), 1)

    @property
    def adapter(self) -> str | None:
        """The name of the checkpoint's adapter that computes it; None for the one that is merged into its weights."""
        return self.representations[0].params.adapter if self.representations else None

    def cancel(self) -> None:
        """Drop the request if its batch does not run yet."""
        self.state.cancelled = True
