"""IOProcessor: converts the input of callers to sequences for the model, and its results to outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from millpond.types.params import PoolingParams
from millpond.types.prompts import split_prompts

if TYPE_CHECKING:
    from pydantic import BaseModel

    from millpond.context import TaskContext
    from millpond.engine.request import PoolingRequest
    from millpond.types.errors import MillpondError

Out = TypeVar("Out")


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """Prompts with the same parameters and options: those of one call of ``LLM``, or a window of a large one.

    Derive from it to pass typed values from ``complete`` to ``encode``.

    Attributes:
        prompts: The prompts as passed by the caller, in order, not validated yet; one for each output.
        params: The pooling parameters.
        options: The options of the task: an instance of the options type of its record, or else of the IO processor's
            ``Options``; None if neither has one.
        shared: A dict shared by all windows of the call, which are encoded one after the other. An IO processor keeps
            objects here that several prompts use, such as the sequence of a query: a ``PoolingRequest`` that is in
            several ``Job`` is computed once.
    """

    prompts: Sequence[Any] = ()
    params: PoolingParams = field(default_factory=PoolingParams)
    options: Any = None
    shared: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True, slots=True)
class Job:
    """The sequences that one output needs, or the error of its item.

    Derive from it to pass typed values from ``encode`` to ``decode``::

        @dataclass(eq=False, kw_only=True, slots=True)
        class Tile(Job):
            rows: int
            columns: int

    Attributes:
        sequences: The sequences; their ``results`` are set when ``decode`` receives the job. A sequence may be in
            several jobs of a call; it is computed once.
        error: The error of an invalid item; it does not affect other items.
        request_id: The id of the output; if empty, the next number.
        index: The index of its item in the call; set by the pipeline.
        left: The number of its sequences that are not computed yet; set by the pipeline.
    """

    sequences: "tuple[PoolingRequest, ...]" = ()
    error: "MillpondError | None" = None
    request_id: str = ""
    index: int = field(default=-1, init=False)
    left: int = field(default=0, init=False)

    @property
    def prompt_token_ids(self) -> list[int]:
        """The token ids of the prompt; empty for several sequences that are not parts of one prompt."""
        first = next(iter(self.sequences), None)
        if first is None or (first.whole is None and len(self.sequences) > 1):
            return []
        ids: list[int] = (first.input_ids if first.whole is None else first.whole).tolist()
        return ids

    @property
    def num_dropped_tokens(self) -> int:
        """The number of tokens removed by truncation."""
        total = 0
        for sequence in self.sequences:
            total += sequence.num_dropped_tokens
        return total


class IOProcessor(Generic[Out]):
    """Converts the input of callers to sequences for the model, and its results to outputs.

    Implement ``encode`` and ``decode``. Both are synchronous, may run on any thread, and keep no state of a call on the
    object: pass values from ``encode`` to ``decode`` as fields of the ``Job``, and share values between the windows of
    a call in ``call.shared``.

    A large offline call is encoded in windows of growing size, so that computation starts early and memory stays
    bounded; an online call is encoded at once. Equal prompts of a call are one item for ``encode``; their outputs are
    decoded from copies of the results.

    Attributes:
        Options: The pydantic model of the options, frozen, with ``extra="forbid"``, for tasks whose record has no
            options type, such as "plugin". With None, ``extra_kwargs`` of the parameters are passed unchanged.
        quick: True if ``decode`` of a few items takes microseconds: a server then calls it on its event loop, which
            takes less time than a thread switch.
        quick_encode: The same for ``encode`` of one short text.
        derived_from: The model's task that the results are computed from; parameters may name it instead of this one.
    """

    Options: "ClassVar[type[BaseModel] | None]" = None
    quick: ClassVar[bool] = False
    quick_encode: bool = False
    derived_from: str | None = None

    def __init__(self, ctx: "TaskContext") -> None:
        self.ctx = ctx

    @classmethod
    def refusal(cls, ctx: "TaskContext") -> str | None:  # noqa: ARG003  most processors serve every model
        """Return why the model cannot be served; None if it can."""
        return None

    def items(self, prompts: object) -> Sequence[object]:
        """Return the prompts of ``Call``, one for each output, in order; by default those that the caller passed.

        Raises:
            InvalidInputError: If the call contains no prompts; it ends the call.
        """
        return [prompts] if isinstance(prompts, str) else split_prompts(prompts)

    def complete(self, call: Call) -> Call:
        """Validate parameters and options, and fill in defaults; by default they are returned unchanged.

        It is called once before prompts with the same parameters are encoded, without the prompts; the next call with
        the same parameters may use the result again. The result may be an instance of a subclass.

        Raises:
            InvalidInputError: If a parameter or an option is not supported; it ends the call.
        """
        return call

    def encode(self, call: Call) -> Sequence[Job]:
        """Validate and tokenize the prompts of a call: one ``Job`` for each, in order.

        Return the error of an invalid prompt as its job, ``Job(error=InvalidInputError(...))``. If this method raises
        instead, the pipeline encodes each prompt separately, so that an invalid one does not affect the others.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement encode(call)")

    def decode(self, job: Job) -> Out:
        """Return the output of an item from its job, whose sequences have their results now."""
        raise NotImplementedError(f"{type(self).__name__} does not implement decode(job)")

    def decode_many(self, jobs: Sequence[Job]) -> list[Out]:
        """Return the outputs of several jobs; override it if decoding many at once is faster.

        If it raises, each job is decoded separately.
        """
        return [self.decode(job) for job in jobs]
