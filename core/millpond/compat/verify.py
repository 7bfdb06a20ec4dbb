"""``PoolingParams.verify``: the check of parameters against a model, for code written for vLLM."""

from typing import TYPE_CHECKING, Any

from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.types.params import PoolingParams

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


def verify(params: "PoolingParams", model_config: Any) -> None:
    """Check parameters against the configuration of a model.

    Args:
        params: The parameters, with their task.
        model_config: The ``ModelConfig``, or an object with some of its attributes.

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
