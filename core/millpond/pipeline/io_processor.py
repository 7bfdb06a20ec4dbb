"""IOProcessor: from what callers pass to what the model reads, and from its results to outputs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from millpond.compat.io_contract import OldMethods
from millpond.types.params import PoolingParams
from millpond.types.prompts import split_prompts

if TYPE_CHECKING:
    from pydantic import BaseModel

    from millpond.context import TaskContext
    from millpond.engine.request import PoolingRequest
    from millpond.types.errors import MillpondError

Out = TypeVar("Out")


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """Everything a call asks beside its prompts; items with the same parameters share one.

    Attributes:
        params: The parameters of the poolers.
        options: The options of the task: an instance of the type that its record, or the IO processor, names as its
            ``Options``; None where neither names one.
    """

    params: PoolingParams
    options: Any = None


class Item(NamedTuple):
    """One item of a call.

    Attributes:
        data: What the caller passed, not yet checked.
        asked: What is asked of it.
    """

    data: Any
    asked: Asked


@dataclass(eq=False, slots=True)
class Call:
    """Items of one call, in order: all of them, or a window of a large call.

    Attributes:
        items: The items.
        shared: A dict of the whole call, the same for all of its windows, which are encoded one after the other. An IO
            processor keeps here what several items use, such as the sequence of a query: a ``PoolingRequest`` that is
            in several ``Work`` is computed once.
    """

    items: Sequence[Item]
    shared: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Work:
    """The sequences that one output needs, or the error of its item.

    Derive from it to hand typed values from ``encode`` to ``decode``::

        @dataclass(frozen=True, eq=False, kw_only=True, slots=True)
        class Tile(Work):
            rows: int
            columns: int

    Attributes:
        sequences: The sequences; each carries its ``results`` when ``decode`` gets the work. A sequence may be in
            several works of a call, and is computed once.
        error: Why the item cannot be served; it costs no other item.
        request_id: The id of the output; empty for the next number.
    """

    sequences: "tuple[PoolingRequest, ...]" = ()
    error: "MillpondError | None" = None
    request_id: str = ""

    @property
    def prompt_token_ids(self) -> list[int]:
        """The token ids of the prompt; empty if it became several sequences that are not parts of one whole."""
        first = next(iter(self.sequences), None)
        if first is None or (first.whole is None and len(self.sequences) > 1):
            return []
        ids: list[int] = (first.input_ids if first.whole is None else first.whole).tolist()
        return ids

    @property
    def num_dropped_tokens(self) -> int:
        """The number of tokens that truncation cut off."""
        return sum([sequence.num_dropped_tokens for sequence in self.sequences])


class IOProcessor(OldMethods, Generic[Out]):
    """From what callers pass to what the model reads, and from its results to outputs.

    Implement ``encode`` and ``decode``. Both are synchronous, may run on any thread, and keep no state of a call on the
    object: what ``decode`` needs from ``encode`` is a field of the ``Work``, what windows of a call share is in
    ``call.shared``.

    A large call is encoded in windows that grow, so that computing starts early and memory stays bounded; an online
    call is encoded at once. Equal prompts of a call are one item for ``encode``; their outputs are decoded from copies
    of the results.

    Attributes:
        Options: A pydantic model of the task's options, for tasks whose record names none, such as "plugin": frozen,
            with ``extra="forbid"``. None leaves ``extra_kwargs`` of the parameters as the caller passed them.
        quick: True if ``decode`` of a few items takes microseconds: a server then calls it on its event loop, which
            costs less than handing it to a thread.
        derived_from: The task of the model that the results are made of, which parameters may name instead.
    """

    Options: "ClassVar[type[BaseModel] | None]" = None
    quick: ClassVar[bool] = False
    derived_from: str | None = None

    def __init__(self, ctx: "TaskContext") -> None:
        self.ctx = ctx

    @classmethod
    def refusal(cls, ctx: "TaskContext") -> str | None:  # noqa: ARG003  most serve every model of their task
        """Return why the model cannot be served; None if it can."""
        return None

    def items(self, prompts: object) -> Sequence[object]:
        """Return the data of the items of a call, one for each output, in order; by default its prompts.

        Raises:
            InvalidInputError: If it contains no items; the error is that of the call.
        """
        return split_prompts(prompts)

    def complete(self, asked: Asked) -> Asked:
        """Check what is asked, and complete it with defaults; by default it is taken as it is.

        It is called once for all items that share it, before the first is encoded. The result may be of a subclass.

        Raises:
            InvalidInputError: If a parameter or an option cannot be served; the error is that of the call.
        """
        return asked

    def encode(self, call: Call) -> Sequence[Work]:
        """Validate and tokenise the items of a call: one ``Work`` for each, in order.

        Put the error of an item into its work, ``Work(error=InvalidInputError(...))``. If it raises instead, the
        pipeline encodes each item alone, so that an invalid item costs no other.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement encode(call)")

    def decode(self, work: Work) -> Out:
        """Make the output of an item from its work, whose sequences carry their results now."""
        raise NotImplementedError(f"{type(self).__name__} does not implement decode(work)")

    def decode_many(self, works: Sequence[Work]) -> list[Out]:
        """Make the outputs of several works; override it where many at once are cheaper.

        If it raises, each work is decoded alone.
        """
        return [self.decode(work) for work in works]

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> Any:
            """Accept ``IOProcessor[In, Out]`` of the old contract as well."""
            is_old = cls is IOProcessor and isinstance(parameters, tuple) and len(parameters) > 1
            return super().__class_getitem__(parameters[-1] if is_old else parameters)
