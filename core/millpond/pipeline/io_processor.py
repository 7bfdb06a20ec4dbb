"""IOProcessor: from what the caller has to what the model takes, and back. Knows neither threads nor HTTP."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import split_prompts

if TYPE_CHECKING:
    from millpond.context import TaskContext
    from millpond.engine.request import PoolingRequest
    from millpond.types.outputs import PoolingRequestOutput

In = TypeVar("In")
Out = TypeVar("Out")


class IOProcessor(Generic[In, Out]):
    """From what the caller has to what the model takes, and back.

    It keeps no state of a call: what ``post_process`` must know rides on the requests (``request.note``).
    All of it is synchronous and may run on any thread.

    Attributes:
        quick: Whether ``post_process`` and ``join`` of a few items take microseconds: a server then calls them on its
            event loop, which costs less than to hand them to a thread.
        derived_from: The task of the model that the results are made of, which parameters may name instead.
    """

    quick: ClassVar[bool] = False
    derived_from: str | None = None

    def __init__(self, ctx: "TaskContext") -> None:
        self.ctx = ctx

    @classmethod
    def refusal(cls, ctx: "TaskContext") -> str | None:  # noqa: ARG003  most serve every model of their task
        """Why the model cannot be served; None if it can."""
        return None

    def split(self, call: object) -> list[object]:
        """The single items of what a caller passed, in order; by default its prompts.

        Raises:
            InvalidInputError: If it is nothing that holds items, or holds none.
        """
        return split_prompts(call)

    def join(
        self, items: Sequence[object], outputs: "Sequence[PoolingRequestOutput[Any]]"
    ) -> "list[PoolingRequestOutput[Any]]":
        """The outputs of a call, from those of its items; by default the same.

        Override it where a result is made of several items, such as the score of a query and a document.

        Args:
            items: What ``split`` made.
            outputs: What became of each, in the same order; those that failed have an ``error``.
        """
        del items
        return list(outputs)

    def parse(self, data: object) -> In:
        """Check untrusted data, one item of a call.

        Raises:
            InvalidInputError: If it cannot be served.
        """
        raise NotImplementedError

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """Complete what the caller asked with the processor's defaults, and choose the pooler's task."""
        return given or PoolingParams()

    def pre_process(self, data: In, params: PoolingParams) -> "list[PoolingRequest]":
        """Make requests of an item: one, several chunks, or a pair."""
        raise NotImplementedError

    def pre_process_many(
        self, items: Sequence[tuple[In, PoolingParams]]
    ) -> "list[list[PoolingRequest] | InvalidInputError]":
        """Make requests of many items; an item at fault costs no other. Override it where many at once are cheaper."""
        made: list[list[PoolingRequest] | InvalidInputError] = []
        for data, params in items:
            try:
                made.append(self.pre_process(data, params))
            except InvalidInputError as error:
                made.append(error)
        return made

    def post_process(self, requests: "Sequence[PoolingRequest]") -> Out:
        """Make the output of an item's requests, each of which now carries its results."""
        raise NotImplementedError
