"""Task options, and items of a task that reads objects: validated as the types that the task's record names."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from millpond.pipeline.io_processor import Call, IOProcessor
from millpond.plugin.blame import is_foreign
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError, PluginError
from millpond.types.params import PoolingParams, validated

if TYPE_CHECKING:
    from millpond.context import ModelContext

NO_PARAMS = PoolingParams()
MISSPELT_SIMILARITY = 0.85  # minimum difflib ratio at which a name counts as a misspelt option of the task


class OptionsReader:
    """Reads the options of the calls of one IO processor.

    Attributes:
        type: The type of its options; None for a processor that reads them from ``extra_kwargs`` of the parameters.
        names: The names of the options that a call may pass as keyword arguments.

    Args:
        processor: The IO processor.
    """

    def __init__(self, processor: IOProcessor[Any]) -> None:
        self.type = options_type(processor)
        self.names = () if self.type is None else tuple(self.type.model_fields)
        self._task = processor.ctx.task or "plugin"
        self._keeps_unknown = is_pooled_by_plugin(processor.ctx)
        self._default = None if self.type is None else self._validated({})

    def __call__(self, params: PoolingParams | None, keywords: Mapping[str, object]) -> Call:
        """Return a call with its parameters and options, without prompts.

        Args:
            params: The parameters; the options in their ``extra_kwargs`` take precedence.
            keywords: Options passed as keyword arguments; None counts as not passed.

        Raises:
            InvalidInputError: If an option is unknown or invalid; names it.
        """
        params = params or NO_PARAMS
        extra = params.extra_kwargs
        if not extra and not keywords:
            return Call(params=params, options=self._default)
        values = {name: value for name, value in {**keywords, **(extra or {})}.items() if value is not None}
        if self.type is None:
            return Call(
                params=params.model_copy(update={"extra_kwargs": values or None}) if values != extra else params
            )
        others = {name: value for name, value in values.items() if name not in self.type.model_fields}
        unknown = next((name for name in others if name not in (extra or {}) or not self._may_be_foreign(name)), None)
        if unknown is not None:
            raise self._unknown(unknown, "extra_kwargs" if unknown in (extra or {}) else unknown)
        known = {name: value for name, value in values.items() if name not in others}
        if extra:
            params = params.model_copy(update={"extra_kwargs": others or None})
        return Call(params=params, options=self._validated(known) if known else self._default)

    def _may_be_foreign(self, name: str) -> bool:
        """Return True if a third-party pooler or model may read an option: it does not resemble one of the task."""
        names = () if self.type is None else self.type.model_fields
        return self._keeps_unknown and not get_close_matches(name, names, n=1, cutoff=MISSPELT_SIMILARITY)

    def _unknown(self, name: str, parameter: str) -> InvalidInputError:
        names = list(self.type.model_fields) if self.type is not None else []
        close = get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        message = f"Unknown option {name!r} of the task {self._task!r}.{hint} Available: {', '.join(names) or 'none'}."
        return InvalidInputError(message, parameter=parameter)

    def _validated(self, values: Mapping[str, object]) -> BaseModel | None:
        if self.type is None:
            return None
        try:
            return self.type.model_validate(values)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)[0]
            name = ".".join(map(str, details["loc"])) or "options"
            if details["type"] == "value_error":
                message = str(details["msg"]).removeprefix("Value error, ")
            else:
                expected = details["msg"].replace("valid tuple", "valid list")  # the caller writes a list, or JSON
                message = f"{name}={details['input']!r}: {expected}"
            raise InvalidInputError(message, parameter=name.partition(".")[0]) from error


def options_type(processor: IOProcessor[Any]) -> type[BaseModel] | None:
    """Return the options type of the task's record, or else of the processor; None if neither has one.

    Raises:
        UnknownNameError: If the type that the record names cannot be imported.
        PluginError: If it is not a pydantic model.
    """
    return _type_of_record(processor, "options") or type(processor).Options


def item_type(processor: IOProcessor[Any]) -> type[BaseModel] | None:
    """Return the type of the items that the task's record names; None for a task that reads texts.

    Raises:
        UnknownNameError: If the type that the record names cannot be imported.
        PluginError: If it is not a pydantic model.
    """
    return _type_of_record(processor, "item")


def read_item(data: object, item: type[BaseModel], task: str) -> BaseModel | InvalidInputError:
    """Return an item of a call as an instance of its type, or the error, which names the field.

    Args:
        data: The fields of the item, or an instance.
        item: The type.
        task: The name of the task.
    """
    if isinstance(data, item):
        return data
    if not isinstance(data, Mapping):
        names = ", ".join(item.model_fields)
        message = f"the task {task!r} reads objects with the fields {names}; got {type(data).__name__}"
        return InvalidInputError(message, parameter="prompts")
    try:
        return validated(item, data, parameter="prompts")
    except InvalidInputError as error:
        return error


def _type_of_record(processor: IOProcessor[Any], field: str) -> type[BaseModel] | None:
    """Return the pydantic model that a field of the task's record names; None if it names none."""
    ctx = processor.ctx
    entry = None if ctx.task is None else ctx.registry.tasks.find(ctx.task)
    if entry is None or getattr(entry.spec, field) is None:
        return None
    model = entry.load(field)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(f"{entry.label}: its {field} must be a pydantic model; got {model!r:.80}")
    return model


def read_call(processor: IOProcessor[Any], params: PoolingParams | None, keywords: Mapping[str, object]) -> Call:
    """Return a call to an IO processor by another one, without prompts.

    Raises:
        InvalidInputError: If an option is unknown or invalid.
    """
    reader = vars(processor).get("_options_reader")
    if reader is None:
        reader = vars(processor)["_options_reader"] = OptionsReader(processor)
    call: Call = reader(params, keywords)
    return call


def is_pooled_by_plugin(ctx: "ModelContext") -> bool:
    """True if a pooler or the model is a third-party one: it may read ``extra_kwargs`` that no task declares."""
    if is_foreign(ctx.registry.architectures.find(ctx.model.architecture)):
        return True
    names = {name for task in ctx.tasks for name in ctx.pooling_type(task).split(JOINED_BY)}
    return any(is_foreign(ctx.registry.poolers.find(name)) for name in names)
