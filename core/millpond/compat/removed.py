"""Parameters and tasks that vLLM removed: they are refused with vLLM's messages, which clients match."""

from collections.abc import Mapping
from typing import Final

REMOVED_PARAMETERS: Final = ("normalize", "softmax", "activation")
REMOVED_TASKS: Final[Mapping[str, str]] = {
    "score": "`score` task was removed; use `classify` instead.",
    "encode": "`encode` task was removed; use `token_embed` or `token_classify` instead.",
}


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
