"""OldProcessor: adapts an IO processor with the old contract to the new contract, for one release."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millpond.compat.io_contract import is_old, warn_of_old
from millpond.engine.request import PoolingRequest
from millpond.pipeline.checks import NO_LIMITS, Limits, breach, check_requests, failure, limits_of
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Work
from millpond.pipeline.options import NO_PARAMS
from millpond.plugin.blame import is_foreign, mark, owner_of
from millpond.types.errors import InvalidInputError, MillpondError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.types.outputs import PoolingRequestOutput

Pair = tuple[Any, PoolingParams]


class OldProcessor(IOProcessor[Any]):
    """Adapts a processor that implements parse, pre_process and post_process."""

    def __init__(self, old: IOProcessor[Any], limits: Limits) -> None:
        super().__init__(old.ctx)
        self.old = old
        self.limits = limits
        owner = owner_of(old)
        if owner is not None:
            mark(self, owner)
            if is_foreign(owner):
                warn_of_old(owner.label, type(old))

    @property
    def is_quick(self) -> bool:
        """The ``quick`` of the old processor."""
        return self.old.quick

    def items(self, prompts: object) -> list[object]:
        """Split a call into items."""
        with _guarded(self.old, "split"):
            return list(self.old.split(prompts))

    def complete(self, asked: Asked) -> Asked:
        """Complete the parameters."""
        caller_params = None if asked.params is NO_PARAMS else asked.params
        with _guarded(self.old, "pooling_params"):
            params: object = self.old.pooling_params(caller_params)
        if not isinstance(params, PoolingParams):
            raise breach(self.old, f"pooling_params must return PoolingParams; it returned {type(params).__name__}")
        return Asked(params, asked.options)

    def encode(self, call: Call) -> list[Work]:
        """Parse each item, then create the requests of all items in one call."""
        works: list[Work | None] = [None] * len(call.items)
        parsed: list[tuple[int, Pair]] = []
        for index, (data, asked) in enumerate(call.items):
            try:
                with _guarded(self.old, "parse"):
                    parsed.append((index, (self.old.parse(data), asked.params)))
            except MillpondError as error:
                works[index] = Work(error=error)
        of_parsed = self._requests([pair for _, pair in parsed]) if parsed else []
        for (index, _), work in zip(parsed, of_parsed, strict=True):
            works[index] = work
        return [work for work in works if work is not None]

    def decode(self, work: Work) -> Any:
        """Create the output from the requests."""
        with _guarded(self.old, "post_process"):
            return self.old.post_process(list(work.sequences))

    def joined(
        self, items: Sequence[object], outputs: "Sequence[PoolingRequestOutput[Any]]"
    ) -> "list[PoolingRequestOutput[Any]]":
        """Return the outputs of a call."""
        with _guarded(self.old, "join"):
            return list(self.old.join(items, list(outputs)))

    def _requests(self, items: Sequence[Pair]) -> list[Work]:
        try:
            results = list(self.old.pre_process_many(items))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a plugin may raise any exception
            if len(items) > 1:
                return [work for item in items for work in self._requests([item])]
            return [Work(error=failure(self.old, "pre_process", error))]
        if len(results) != len(items):
            message = (
                f"pre_process_many must return one list per item; it returned {len(results)} for {len(items)} items"
            )
            return [Work(error=breach(self.old, message))] * len(items)
        return [self._work(requests) for requests in results]

    def _work(self, requests: object) -> Work:
        if isinstance(requests, InvalidInputError):
            return Work(error=requests)
        is_list = isinstance(requests, list | tuple)
        if not isinstance(requests, list | tuple) or not all(isinstance(it, PoolingRequest) for it in requests):
            types = sorted({type(it).__name__ for it in requests}) if isinstance(requests, list | tuple) else []
            of = f" of {', '.join(types)}" if is_list else ""
            message = f"pre_process must return a list of PoolingRequest; it returned a {type(requests).__name__}{of}"
            return Work(error=breach(self.old, message))
        error = check_requests(self.old, requests, self.ctx.tasks, self.limits)
        return Work(sequences=tuple(requests)) if error is None else Work(error=error)


def adapted(processor: IOProcessor[Any]) -> IOProcessor[Any]:
    """Return a processor with the new contract, for a processor that calls another one."""
    if not is_old(type(processor)):
        return processor
    return OldProcessor(processor, limits_of(processor.ctx) if is_foreign(owner_of(processor)) else NO_LIMITS)


@contextmanager
def _guarded(processor: IOProcessor[Any], step: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, step, error) from error
