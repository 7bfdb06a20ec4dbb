"""The checks of pooling parameters that vLLM has, with its messages, which clients match."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.types.params import PoolingParams

REMOVED_PARAMETERS: Final = ("normalize", "softmax", "activation")
REMOVED_TASKS: Final[Mapping[str, str]] = {
    "score": "`score` task was removed; use `classify` instead.",
    "encode": "`encode` task was removed; use `token_embed` or `token_classify` instead.",
}
STEP_FIELDS = ("step_tag_id", "returned_token_ids")
FIELDS = ("dimensions", "use_activation", *STEP_FIELDS)
EMBEDDING, CLASSIFYING = ("dimensions", "use_activation"), ("use_activation",)
FIELDS_BY_TASK = {
    "embed": EMBEDDING,
    "token_embed": EMBEDDING,
    "classify": CLASSIFYING,
    "token_classify": CLASSIFYING,
}
"""The fields that each task reads; other tasks check their parameters themselves."""


class RemovedError(ValueError):
    """A removed parameter or task.

    Attributes:
        parameter: The name of the field.
    """

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


def check_removed(fields: object) -> None:
    """Refuse removed fields of pooling parameters, and removed tasks. Fields that are None are ignored.

    Args:
        fields: The fields by name; values that are not a mapping are ignored.

    Raises:
        RemovedError: If a field or a task was removed.
    """
    if not isinstance(fields, Mapping):
        return
    for name in REMOVED_PARAMETERS:
        if fields.get(name) is not None:
            message = f"Parameter `{name}` was removed; use `use_activation` instead."
            raise RemovedError(message, name)
    task = fields.get("task")
    if isinstance(task, str) and task in REMOVED_TASKS:
        raise RemovedError(REMOVED_TASKS[task], "task")


def verify(params: "PoolingParams", model_config: Any) -> None:
    """Check parameters against the configuration of a model.

    Args:
        params: The parameters, with their task.
        model_config: The ``ResolvedModel``, or an object with some of its attributes.

    Raises:
        InvalidInputError: If a field does not apply to the task, or is invalid for the model.
    """
    task = params.task
    if params.late_chunking_params is not None and task != "token_embed":
        message = f"Late chunking requires token_embed; the task is {task!r}"
        raise InvalidInputError(message, parameter="late_chunking_params")
    if task not in FIELDS_BY_TASK:
        return
    config = getattr(model_config, "pooler_config", None)
    steps = task.startswith("token_") and getattr(config, "tok_pooling_type", None) == "STEP"
    valid = (*FIELDS_BY_TASK[task], *(STEP_FIELDS if steps else ()))
    invalid = [name for name in FIELDS if name not in valid and getattr(params, name) is not None]
    if invalid:
        message = f"Task {task!r} only supports {list(valid)} parameters, does not support {invalid} parameters"
        raise InvalidInputError(message, parameter=invalid[0])
    if params.dimensions is not None:
        _check_dimensions(params.dimensions, model_config)


def with_task(params: "PoolingParams", task: object) -> "PoolingParams":
    """Return parameters with a task.

    Raises:
        InvalidInputError: If the parameters already have a different task.
    """
    if task is None or task == params.task:
        return params
    if params.task is not None:
        message = f"You cannot overwrite self.task={params.task!r} with task={task!r}!"
        raise InvalidInputError(message, parameter="task")
    return params.model_copy(update={"task": task})


def _check_dimensions(asked: int, model_config: Any) -> None:
    name, size = getattr(model_config, "model", None), getattr(model_config, "embedding_size", None)
    trained = getattr(model_config, "matryoshka_dimensions", None)
    if asked == size:
        return
    if not getattr(model_config, "is_matryoshka", False):
        message = (
            f"Model {name!r} does not support Matryoshka embeddings; dimensions must be unset (received "
            f"dimensions={asked})."
        )
    elif size is not None and asked > size:
        message = f"Model {name!r} only supports dimensions in range [1, {size}], got {asked}."
    elif trained and asked not in trained:
        message = f"Model {name!r} only supports Matryoshka dimensions {list(trained)}, got {asked}."
    else:
        return
    raise InvalidInputError(message, parameter="dimensions")
