"""Parameters and tasks that vLLM removed: refused with its sentences, on which clients match."""

from collections.abc import Mapping
from typing import Final

REMOVED_PARAMETERS: Final = ("normalize", "softmax", "activation")
REMOVED_TASKS: Final[Mapping[str, str]] = {
    "score": "`score` task was removed; use `classify` instead.",
    "encode": "`encode` task was removed; use `token_embed` or `token_classify` instead.",
}


class RemovedError(ValueError):
    """A parameter or a task that was removed.

    Attributes:
        parameter: The name of the field.
    """

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


def check_removed(given: object) -> None:
    """Refuse fields of pooling parameters that were removed, and tasks; None is not given.

    Args:
        given: The fields by name; anything but a mapping is left to other checks.

    Raises:
        RemovedError: A field or a task was removed.
    """
    if not isinstance(given, Mapping):
        return
    for name in REMOVED_PARAMETERS:
        if given.get(name) is not None:
            message = f"Parameter `{name}` was removed; use `use_activation` instead."
            raise RemovedError(message, name)
    task = given.get("task")
    if isinstance(task, str) and task in REMOVED_TASKS:
        raise RemovedError(REMOVED_TASKS[task], "task")
