"""PoolingRequest: one sequence for the engine, with the representations that are requested of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.types.errors import MillpondError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond.nn.shared_rows import PrefixStates


class Representation(NamedTuple):
    """A requested result of a sequence: the output of a task's pooler.

    Attributes:
        task: The pooler's task.
        params: The parameters of the pooler.
        span: The first token that is pooled, and the one after the last; None for all tokens.
    """

    task: str
    params: PoolingParams
    span: tuple[int, int] | None = None


@dataclass(eq=False, slots=True)
class SharedPrefix:
    """The tokens with which all sequences of a call begin.

    Attributes:
        ids: The token ids, [length], int64.
        kind: The group, route and adapter of these sequences.
        number: Its number in this process.
        states: The results of the model for these tokens, which the first batch computes and the others reuse.
    """

    ids: "NDArray[np.int64]"
    kind: tuple[str, str, str | None] = ("text", "", None)
    number: int = field(default_factory=count().__next__)
    states: "PrefixStates | None" = None


@dataclass(eq=False, slots=True)
class RequestState:
    """The state of a request in the engine; set by the pipeline and the engine, not by IO processors.

    Attributes:
        priority: Lower numbers are served first.
        owner: The jobs of the pipeline that wait for it; None before and after.
        on_done: Called on the engine's thread when the results or the error are set.
        cancelled: Set by the caller, from any thread: the request is dropped unless its batch is already running.
        prefix: The tokens that it shares with the other sequences of its call; None if they are not shared.
        cache_key: Its key in the cache; None if it was not looked up.
        ticket: Its position in the order of arrival.
        started: The start of its batch, by ``time.perf_counter``; 0.0 before.
        advanced: The last progress of its batch, by the same clock: the start, or the start of a layer. Only set on the
            first request of a batch.
    """

    priority: int = 0
    owner: Any = None
    on_done: "Callable[[PoolingRequest], None] | None" = None
    cancelled: bool = False
    prefix: SharedPrefix | None = None
    cache_key: bytes | None = None
    ticket: int = 0
    started: float = 0.0
    advanced: float = 0.0


@dataclass(eq=False, kw_only=True, slots=True)
class Sequence:
    """The input of a model: everything that its hidden states depend on.

    Attributes:
        input_ids: The token ids, [num_tokens], int64.
        token_type_ids: The token type of each token, [num_tokens]; None if all are 0.
        features: Raw inputs, such as pixels.
        route: The route through a model whose queries and documents take different ones; else empty.
    """

    input_ids: "NDArray[np.int64]"
    token_type_ids: "NDArray[np.int64] | None" = None
    features: Mapping[str, object] = field(default_factory=dict)
    route: str = ""


@dataclass(eq=False, kw_only=True, slots=True)
class PoolingRequest(Sequence):
    """One sequence for the engine.

    Attributes:
        representations: The requested results; all are computed in one forward pass.
        group: Only requests of one group share a batch.
        cacheable: False to always compute it, if its results depend on more than the fields above.
        is_ready: True if results or an error are set, by the IO processor or the engine.
        num_dropped_tokens: The number of tokens removed by truncation.
        whole: The token ids of the whole prompt, [num_tokens], if it is split into several requests; else None.
        results: One array for each representation, once it is computed.
        error: The error, if it failed.
        state: Its state in the engine.
        num_tokens: The number of tokens it adds to a batch, at least 1.
    """

    representations: tuple[Representation, ...]
    group: str = "text"
    cacheable: bool = True
    is_ready: bool = False
    num_dropped_tokens: int = 0
    whole: "NDArray[np.int64] | None" = None
    results: "list[NDArray[np.float32]]" = field(default_factory=list)
    error: MillpondError | None = None
    state: RequestState = field(default_factory=RequestState)
    num_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_tokens = len(self.input_ids) or 1

    @property
    def adapter(self) -> str | None:
        """The name of the checkpoint's adapter that computes the sequence; None for the merged weights."""
        return self.representations[0].params.adapter if self.representations else None

    def cancel(self) -> None:
        """Drop the request unless its batch is already running."""
        self.state.cancelled = True
