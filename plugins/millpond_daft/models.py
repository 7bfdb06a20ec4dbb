"""Loaded models: they compute the batches of Daft's functions."""

# pyright: reportMissingImports=false
import logging
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa

from millpond_daft.options import Work
from millpond_recipes.errors import RecipeError
from millpond_recipes.results import PROBS, VECTOR
from millpond_recipes.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from millpond_recipes.recipe import Recipe
    from millpond_recipes.runner import Runner

LOGGER = logging.getLogger("millpond_daft")
Vectors = list["NDArray[Any] | None"]
CLASSIFY = "classify"
RANK, GREY = 3, 1  # dimensions of pixels; number of channels


_runners: "WeakValueDictionary[str, Runner]" = WeakValueDictionary()
_loading = Lock()


def shared_runner(recipe: "Recipe") -> "Runner":
    """Return the runner of a recipe in this process; it is loaded once, and freed with the last model that uses it.

    Daft creates an instance per thread. Each runner uses all cores.
    """
    key = recipe.to_json()
    with _loading:
        runner = _runners.get(key)
        if runner is None:
            runner = _runners[key] = recipe.open()
    return runner


class LoadedModel:
    """A loaded model, and the treatment of its failed rows.

    Args:
        work: The recipe, and the options of Daft's function.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.runner = shared_runner(work.recipe)

    def compute(self, values: Sequence[Any], column: str) -> Vectors:
        """Return an array per row; None for a null, and for a row that fails if the caller accepts that.

        Args:
            values: The values of a batch.
            column: The column of the result.

        Raises:
            RecipeError: If a row fails and ``on_error`` is "raise".
        """
        filled = [index for index, value in enumerate(values) if value is not None]
        results: Vectors = [None] * len(values)
        if filled:
            rows = Rows({self.runner.recipe.input_columns[-1]: [values[index] for index in filled]})
            table = self.runner.compute(rows)
            self.log_errors(table.column("error"))
            for index, array in zip(filled, arrays_of(table.column(column)), strict=True):
                results[index] = array
        return results

    def log_errors(self, errors: pa.ChunkedArray) -> None:
        """Log the number of rows that failed, and the first error, if the caller requests that."""
        messages = errors.drop_null()
        if len(messages) and self.work.on_error == "log":
            LOGGER.warning("%d of %d rows failed; the first: %s", len(messages), len(errors), messages[0].as_py())


class MillpondTextEmbedder(LoadedModel):
    """Embeds texts."""

    def embed_text(self, text: list[str | None]) -> Vectors:
        """Return one vector per text, [dim]; None for a null."""
        return self.compute(text, VECTOR)


class MillpondImageEmbedder(LoadedModel):
    """Embeds images."""

    def embed_image(self, images: "list[NDArray[np.uint8] | None]") -> Vectors:
        """Return one vector per image, [dim]; None for a null.

        Args:
            images: Pixels, [height, width, channels].
        """
        return self.compute([None if image is None else picture(image) for image in images], VECTOR)


class MillpondClassifier(LoadedModel):
    """Finds the most probable of several labels for each text.

    A classifier compares the probabilities of its classes. An embedding model compares the vector of a text with
    those of the labels (zero-shot), by their cosine.
    """

    def classify_text(self, text: list[str | None], labels: str | list[str]) -> list[str | None]:
        """Return one label per text; None for a null.

        Args:
            text: The texts.
            labels: The labels to choose from; for a classifier, names of its classes.

        Raises:
            RecipeError: If a label is not a class of the classifier.
        """
        names = [labels] if isinstance(labels, str) else list(labels)
        scores = self._class_scores(text, names) if self.runner.recipe.task == CLASSIFY else self._cosines(text, names)
        return [None if row is None else names[int(row.argmax())] for row in scores]

    def _class_scores(self, texts: Sequence[str | None], labels: list[str]) -> Vectors:
        classes = self.runner.llm.model_config.labels
        unknown = [label for label in labels if label not in classes]
        if unknown:
            message = (
                f"Unknown label {unknown[0]!r} of {self.runner.recipe.model!r}. Available: {', '.join(classes)}. "
                "For other labels, use an embedding model."
            )
            raise RecipeError(message)
        columns = [classes.index(label) for label in labels]
        return [None if row is None else row[columns] for row in self.compute(texts, PROBS)]

    def _cosines(self, texts: Sequence[str | None], labels: list[str]) -> Vectors:
        template = self.work.label_template
        vectors = np.stack(
            [vector for vector in self.compute([template.format(it) for it in labels], VECTOR) if vector is not None]
        )
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return [None if vector is None else vectors @ vector for vector in self.compute(texts, VECTOR)]


def picture(pixels: "NDArray[np.uint8]") -> "Image":
    """Return pixels, [height, width, channels], as an image."""
    from PIL import Image  # noqa: PLC0415  only needed for images

    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == RANK and pixels.shape[2] == GREY else pixels)


def arrays_of(column: pa.ChunkedArray) -> Vectors:
    """Return the rows of a column of lists of one size as arrays; None for nulls."""
    lists = column.combine_chunks()
    rows = lists.values.to_numpy().reshape(len(lists), lists.type.list_size)
    valid = lists.is_valid().to_pylist()
    return [row if is_valid else None for row, is_valid in zip(rows, valid, strict=True)]
