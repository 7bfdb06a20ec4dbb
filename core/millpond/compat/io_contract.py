"""The IO contract before 0.2: parse, pooling_params, pre_process and post_process, with split and join."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from millpond.types.errors import InvalidInputError, MillpondError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.engine.request import PoolingRequest
    from millpond.pipeline.io_processor import Asked, Work
    from millpond.types.outputs import PoolingRequestOutput

OLD_STEPS = ("parse", "pre_process", "pre_process_many", "post_process")


class OldMethods:
    """The methods of the old contract, for one release.

    They are defaults for plugins with the old contract. Processors with the new contract implement them with ``encode``
    and ``decode``, because plugins with the old contract may call built-in processors or derive from them.
    """

    def split(self, call: object) -> list[object]:
        """Return the items of a call."""
        return list(self.items(call))  # type: ignore[attr-defined]  # IOProcessor has it

    def join(
        self, items: Sequence[object], outputs: "Sequence[PoolingRequestOutput[Any]]"
    ) -> "list[PoolingRequestOutput[Any]]":
        """Return the outputs of a call, from those of its items."""
        del items
        return list(outputs)

    def parse(self, data: object) -> Any:
        """Check one item."""
        if not encodes(type(self)):
            raise NotImplementedError
        return data

    def pooling_params(self, params: PoolingParams | None) -> PoolingParams:
        """Complete the parameters of a call."""
        params = params or PoolingParams()
        if not encodes(type(self)):
            return params
        completed = _completed(self, params).params
        return completed.model_copy(update={"extra_kwargs": params.extra_kwargs})

    def pre_process(self, data: Any, params: PoolingParams) -> "list[PoolingRequest]":
        """Create the requests of an item."""
        if not encodes(type(self)):
            raise NotImplementedError
        (requests,) = _encoded(self, [(data, params)])
        if isinstance(requests, MillpondError):
            raise requests
        return requests

    def pre_process_many(
        self, items: Sequence[tuple[Any, PoolingParams]]
    ) -> "list[list[PoolingRequest] | InvalidInputError]":
        """Create the requests of many items; an invalid item does not affect the others."""
        if encodes(type(self)) and type(self).pre_process is OldMethods.pre_process:
            return _encoded(self, items)
        results: list[list[PoolingRequest] | InvalidInputError] = []
        for data, params in items:
            try:
                results.append(self.pre_process(data, params))
            except InvalidInputError as error:
                results.append(error)
        return results

    def post_process(self, requests: "Sequence[PoolingRequest]") -> Any:
        """Create the output from an item's requests."""
        if not encodes(type(self)):
            raise NotImplementedError
        from millpond.pipeline.io_processor import Work  # noqa: PLC0415  imports this module

        note = requests[0].note if requests else None
        work = note if isinstance(note, Work) else Work()  # stored by ``_encoded``
        return self.decode(replace(work, sequences=tuple(requests)))  # type: ignore[attr-defined]  # IOProcessor has it


def _completed(processor: Any, params: PoolingParams) -> "Asked":
    """Return the completed parameters and options for a processor with the new contract."""
    from millpond.pipeline.options import read_asked  # noqa: PLC0415  imports this package

    asked: Asked = processor.complete(read_asked(processor, params, {}))
    return asked


def _encoded(
    processor: Any, items: Sequence[tuple[Any, PoolingParams]]
) -> "list[list[PoolingRequest] | InvalidInputError]":
    """Return the requests of a processor with the new contract; the first request of a work refers to the work."""
    from millpond.pipeline.io_processor import Call, Item  # noqa: PLC0415  imports this module

    asked: dict[int, Asked] = {}
    for _, params in items:
        if id(params) not in asked:
            asked[id(params)] = _completed(processor, params)
    works: Sequence[Work] = processor.encode(Call([Item(data, asked[id(params)]) for data, params in items]))
    results: list[Any] = []
    for work in works:
        requests = list(work.sequences)
        for request in requests[:1]:
            request.note = work
        results.append(requests if work.error is None else work.error)
    return results


def is_old(kind: type) -> bool:
    """Return True for a class that implements methods of the old contract, even if a base class has the new one."""
    base = _new_base(kind)
    return any(_overrides(kind, base, name) for name in vars(OldMethods) if not name.startswith("_"))


def encodes(kind: type) -> bool:
    """Return True for a class that implements the new contract, or derives from one that does."""
    from millpond.pipeline.io_processor import IOProcessor  # noqa: PLC0415  imports this module

    return _new_base(kind) is not IOProcessor


def _new_base(kind: type) -> type:
    """Return the base class that implements the new contract; IOProcessor if none does."""
    from millpond.pipeline.io_processor import IOProcessor  # noqa: PLC0415  imports this module

    implementing = [base for base in kind.__mro__ if issubclass(base, IOProcessor) and _has_both(base, IOProcessor)]
    whole = (base for base in implementing if "encode" in vars(base) and {"decode", "decode_many"} & vars(base).keys())
    return next(whole, implementing[-1] if implementing else IOProcessor)


def _has_both(kind: type, base: type) -> bool:
    decodes = _overrides(kind, base, "decode") or _overrides(kind, base, "decode_many")
    return decodes and _overrides(kind, base, "encode")


def warn_of_old(label: str, kind: type) -> None:
    """Warn that a plugin implements the old contract."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    message = (
        f"the {label} ({name}) implements the IO contract of millpond 0.1 (parse, pre_process, post_process), which "
        "the next release removes: implement encode(call) and decode(work), see docs/hooks/register_io_processors.md"
    )
    methods = [getattr(kind, name) for name in OLD_STEPS if _overrides(kind, OldMethods, name)]
    method = next((method for method in methods if isinstance(method, FunctionType)), None)
    if method is None:
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return
    code, shown = method.__code__, method.__globals__.setdefault("__warningregistry__", {})
    line = code.co_firstlineno
    warnings.warn_explicit(message, DeprecationWarning, code.co_filename, line, kind.__module__, shown)


def _overrides(kind: type, base: type, method: str) -> bool:
    return getattr(kind, method, None) is not getattr(base, method, None)
