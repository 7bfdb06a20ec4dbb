"""MillpondProvider: Daft asks it for the models of its functions."""

# pyright: reportMissingImports=false
from dataclasses import replace
from typing import Any

from daft.ai.provider import Provider

from millpond_daft.descriptors import (
    MillpondImageEmbedderDescriptor,
    MillpondTextClassifierDescriptor,
    MillpondTextEmbedderDescriptor,
)
from millpond_daft.options import read_work
from millpond_recipes.errors import RecipeError
from millpond_recipes.model_facts import read_model_facts

TEXTS_PER_BATCH = 4096  # enough to sort by length, and little enough to report progress
IMAGES_PER_BATCH = 256
TASKS_OF_CLASSIFIERS = ("classify", "embed")


class MillpondProvider(Provider):
    """The models of Millpond for Daft: ``embed_text(column, provider=MillpondProvider(), model=...)``.

    Options are those of Daft's functions (``batch_size``, ``concurrency``, ``num_gpus``, ``max_retries``,
    ``on_error``), those of a call (``revision``, ``prompt``, ``prompt_name``, ``input_type``, ``embed_dtype``,
    ``on_overflow``) and those of ``millpond.LLM``. With ``on_error="log"`` or ``"ignore"``, only the rows that fail
    become null.

    Args:
        name: The name of the provider in a Daft session.
        **options: The options of all models of the provider. Those of a call take precedence.
    """

    def __init__(self, name: str | None = None, **options: Any) -> None:
        self._name = name or "millpond"
        self._options = options

    @property
    def name(self) -> str:
        """The name of the provider."""
        return self._name

    def get_text_embedder(
        self, model: str | None = None, dimensions: int | None = None, **options: Any
    ) -> MillpondTextEmbedderDescriptor:
        """Return the embedding model of ``embed_text``.

        Args:
            model: A folder, a hub id, or ``scheme:name`` to ask one source.
            dimensions: Keep the first N dimensions, for models trained for it (Matryoshka).
            **options: See the class.

        Raises:
            ValueError: If there is no model, or an option is unknown or invalid.
        """
        options = self._options | options
        return MillpondTextEmbedderDescriptor(
            read_work(self.name, model, options, TEXTS_PER_BATCH, dimensions=dimensions)
        )

    def get_image_embedder(self, model: str | None = None, **options: Any) -> MillpondImageEmbedderDescriptor:
        """Return the embedding model of ``embed_image``.

        Args:
            model: As for ``get_text_embedder``.
            **options: See the class.

        Raises:
            ValueError: If there is no model, or an option is unknown or invalid.
        """
        options = self._options | options
        return MillpondImageEmbedderDescriptor(
            read_work(self.name, model, options, IMAGES_PER_BATCH, image_column="image")
        )

    def get_text_classifier(
        self, model: str | None = None, *, label_template: str = "{}", **options: Any
    ) -> MillpondTextClassifierDescriptor:
        """Return the classifier of ``classify_text``: a model with classes, or an embedding model (zero-shot).

        Args:
            model: As for ``get_text_embedder``.
            label_template: The text that an embedding model reads for a label, such as "This text is about {}."
            **options: See the class.

        Raises:
            ValueError: If there is no model, or an option is unknown or invalid.
            RecipeError: If the model has neither classes nor embeddings.
        """
        work = read_work(self.name, model, self._options | options)
        tasks = read_model_facts(work.recipe).layers.tasks
        task = next((task for task in TASKS_OF_CLASSIFIERS if task in tasks), None)
        if task is None:
            message = f"{model!r} serves neither 'classify' nor 'embed'. Available: {', '.join(tasks)}."
            raise RecipeError(message)
        recipe = work.recipe.model_copy(update={"task": task})
        return MillpondTextClassifierDescriptor(replace(work, recipe=recipe, label_template=label_template))
