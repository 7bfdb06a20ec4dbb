"""Descriptors: what Daft sends to its workers, which load the model from them."""

# pyright: reportMissingImports=false
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
from daft import DataType
from daft.ai.protocols import ImageEmbedderDescriptor, TextClassifierDescriptor, TextEmbedderDescriptor
from daft.ai.typing import EmbeddingDimensions, UDFOptions

from millpond_daft.models import MillpondClassifier, MillpondImageEmbedder, MillpondTextEmbedder
from millpond_daft.options import Work
from millpond_recipes.results import VECTOR


@dataclass(frozen=True)
class WorkDescriptor:
    """The methods that all descriptors share.

    Attributes:
        work: The recipe and the options of Daft's function.
    """

    work: Work

    def get_provider(self) -> str:
        """Return the name of the provider."""
        return self.work.provider

    def get_model(self) -> str:
        """Return the model."""
        return self.work.recipe.model

    def get_options(self) -> dict[str, Any]:
        """Return the options of the function and of the model."""
        return {**self.work.recipe.model_arguments, **self.work.udf}

    def get_udf_options(self) -> UDFOptions:
        """Return the options of Daft's function."""
        return self.work.udf_options()


class VectorDescriptor(WorkDescriptor):
    """The type of a column of vectors."""

    @cached_property
    def _type(self) -> Any:
        column = self.work.recipe.input_columns[-1]
        kind = pa.string() if self.work.recipe.image_column is None else pa.binary()
        return self.work.recipe.schema(pa.schema([(column, kind)])).field(VECTOR).type

    def get_dimensions(self) -> EmbeddingDimensions:
        """Return the size and number type of vectors, from the model's configuration."""
        return EmbeddingDimensions(self._type.list_size, DataType.from_arrow_type(self._type.value_type))


class MillpondTextEmbedderDescriptor(VectorDescriptor, TextEmbedderDescriptor):
    """Describes an embedding model for texts."""

    def instantiate(self) -> MillpondTextEmbedder:
        """Load the model."""
        return MillpondTextEmbedder(self.work)


class MillpondImageEmbedderDescriptor(VectorDescriptor, ImageEmbedderDescriptor):
    """Describes an embedding model for images."""

    def instantiate(self) -> MillpondImageEmbedder:
        """Load the model."""
        return MillpondImageEmbedder(self.work)


class MillpondTextClassifierDescriptor(WorkDescriptor, TextClassifierDescriptor):
    """Describes a classifier, or an embedding model that compares texts with labels."""

    def instantiate(self) -> MillpondClassifier:
        """Load the model."""
        return MillpondClassifier(self.work)
