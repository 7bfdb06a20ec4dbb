"""One array of the embeddings of a call, for callers that only need the numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from millpond.types.errors import InvalidInputError
from millpond.types.outputs import EmbeddingRequestOutput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Form = Literal["objects", "array"]
FORMS = ("objects", "array")


def check_form(output: str) -> None:
    """Refuse an unknown value of the argument ``output``.

    Raises:
        InvalidInputError: If it is not one of ``FORMS``.
    """
    if output not in FORMS:
        message = f"output={output!r}: expected one of {', '.join(map(repr, FORMS))}"
        raise InvalidInputError(message, parameter="output")


def check_stackable(task: str) -> None:
    """Refuse one array for a task whose results differ in size.

    Raises:
        InvalidInputError: If the task is not "embed".
    """
    if task != "embed":
        message = (
            f"output='array' needs one vector per prompt, and this model embeds with {task!r}, which returns one per "
            "token: use output='objects'; PoolingParams(task='embed') requests one per prompt of models that have it"
        )
        raise InvalidInputError(message, parameter="output")


def stacked(outputs: Sequence[EmbeddingRequestOutput], size: int) -> "NDArray[np.float32]":
    """Return the embeddings as one array, [num_prompts, dim], float32.

    Args:
        outputs: The outputs of a call; the row of one with an error is NaN.
        size: The number of dimensions if no output has an embedding.
    """
    import numpy as np

    arrays = [None if output.error is not None else output.outputs.array for output in outputs]
    size = next((len(array) for array in arrays if array is not None), size)
    rows = np.full((len(arrays), size), np.nan, dtype=np.float32)
    for row, array in zip(rows, arrays, strict=True):
        if array is not None:
            row[:] = array
    return rows
