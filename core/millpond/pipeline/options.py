"""Options of a task: what a call passes by name, as an instance of the type that the task's record names."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from millpond.compat.io_contract import encodes, is_old
from millpond.pipeline.io_processor import Asked, IOProcessor
from millpond.plugin.blame import is_foreign
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError, PluginError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import ModelContext

NO_PARAMS = PoolingParams()


class OptionsReader:
    """Reads the options of the calls of one IO processor.

    Attributes:
        type: The type of its options; None for a processor that finds them in ``extra_kwargs`` of the parameters.
        names: The names of the options that a call may pass as keywords.

    Args:
        processor: The IO processor.
        is_called: True if another IO processor calls it, by the contract that it answers.
    """

    def __init__(self, processor: IOProcessor[Any], *, is_called: bool = False) -> None:
        kind = type(processor)
        keeps_params = not encodes(kind) if is_called else is_old(kind)
        named = options_type(processor)
        self.names = () if named is None else tuple(named.model_fields)
        self.type = None if keeps_params else named
        self._task = processor.ctx.task or "plugin"
        self._keeps_unknown = _is_pooled_by_plugin(processor.ctx)
        self._default = None if self.type is None else self._validated({})

    def __call__(self, params: PoolingParams | None, given: Mapping[str, object]) -> Asked:
        """Return what a call asks.

        Args:
            params: The parameters; the options in their ``extra_kwargs`` take precedence.
            given: Options that the call passes by name; those that are None are not given.

        Raises:
            InvalidInputError: If an option is unknown or does not fit; names it.
        """
        params = params or NO_PARAMS
        own = params.extra_kwargs
        if not own and not given:
            return Asked(params, self._default)
        values = {name: value for name, value in {**given, **(own or {})}.items() if value is not None}
        if self.type is None:
            return Asked(params.model_copy(update={"extra_kwargs": values or None}) if values != own else params)
        kept = {name: value for name, value in values.items() if name not in self.type.model_fields}
        wrong = next((name for name in kept if not self._keeps_unknown or name not in (own or {})), None)
        if wrong is not None:
            raise self._unknown(wrong, "extra_kwargs" if wrong in (own or {}) else wrong)
        known = {name: value for name, value in values.items() if name not in kept}
        if own:
            params = params.model_copy(update={"extra_kwargs": kept or None})
        return Asked(params, self._validated(known) if known else self._default)

    def _unknown(self, name: str, parameter: str) -> InvalidInputError:
        there = list(self.type.model_fields) if self.type is not None else []
        close = get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        message = f"Unknown option {name!r} of the task {self._task!r}.{hint} Available: {', '.join(there) or 'none'}."
        return InvalidInputError(message, parameter=parameter)

    def _validated(self, values: Mapping[str, object]) -> BaseModel | None:
        if self.type is None:
            return None
        try:
            return self.type.model_validate(values)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False)[0]
            name = ".".join(map(str, fault["loc"])) or "options"
            if fault["type"] == "value_error":
                message = str(fault["msg"]).removeprefix("Value error, ")
            else:
                message = f"{name}={fault['input']!r}: {fault['msg']}"
            raise InvalidInputError(message, parameter=name.partition(".")[0]) from error


def options_type(processor: IOProcessor[Any]) -> type[BaseModel] | None:
    """Return the type of a processor's options: that of the task's record, else its own; None for neither.

    Raises:
        UnknownNameError: If the record names what cannot be imported.
        PluginError: If it names something else than a pydantic model.
    """
    ctx = processor.ctx
    entry = None if ctx.task is None else ctx.registry.tasks.find(ctx.task)
    if entry is None or entry.spec.options is None:
        return type(processor).Options
    kind = entry.load("options")
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise PluginError(f"{entry.label}: its options must be a pydantic model; got {kind!r:.80}")
    return kind


def read_asked(processor: IOProcessor[Any], params: PoolingParams | None, given: Mapping[str, object]) -> Asked:
    """Return what a call asks of an IO processor that is called by another one.

    Raises:
        InvalidInputError: If an option is unknown or does not fit.
    """
    reader = vars(processor).get("_options_reader")
    if reader is None:
        reader = vars(processor)["_options_reader"] = OptionsReader(processor, is_called=True)
    asked: Asked = reader(params, given)
    return asked


def _is_pooled_by_plugin(ctx: "ModelContext") -> bool:
    """True if a pooler or the model is not built in: it may read ``extra_kwargs`` of names that no task knows."""
    if is_foreign(ctx.registry.architectures.find(ctx.model.architecture)):
        return True
    names = {name for task in ctx.tasks for name in ctx.pooling_type(task).split(JOINED_BY)}
    return any(is_foreign(ctx.registry.poolers.find(name)) for name in names)
