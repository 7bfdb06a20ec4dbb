"""ImageReader: from a text with images to token ids and features. IO processors get it from ``ctx.image_reader()``."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from millpond.types.image_options import ImageOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from millpond.context import Context


@dataclass(frozen=True, kw_only=True)
class TextWithImages:
    """A text with its images, as input of the model.

    Attributes:
        input_ids: The token ids, [num_tokens], int64, with the placeholder tokens of each image.
        features: The inputs that the model computes from the images, by name: the features of the sequence.
    """

    input_ids: "NDArray[np.int64]"
    features: Mapping[str, object]


class ImageReader(ABC):
    """Converts a text and its images to token ids and features. It may be called from any thread.

    Images are decoded, of a bounded size, in RGB. An exception other than ``InvalidInputError`` is logged, and the
    caller gets an error stating that the images do not suit the model.

    Attributes:
        mark: The pattern of the image mark in a text.
        images_first: True if images precede the text, as in ``marked``, unless the caller places the marks.
        alone: True if a prompt is exactly one image without text; the reader adds the text around it.
        chat_template: The default chat template, if neither caller nor checkpoint provides one; None for one line per
            message.
        synonyms: Other names of ``options``; names inside an object have a dot, such as ``size.longest_edge``.
    """

    mark: re.Pattern[str]
    images_first: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    chat_template: ClassVar[str | None] = None
    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, ctx: "Context") -> None:
        self.ctx = ctx

    @property
    def reserved_ids(self) -> frozenset[int]:
        """The placeholder tokens of images, which a text without images must not contain."""
        return frozenset()

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """The options that callers may pass as ``mm_processor_kwargs`` to set the size of images; none by default.

        Larger values must mean larger images: servers limit requests by them. A ``min_`` and a ``max_`` option of the
        same name form a range. No option may name a file, a device or code.
        """
        return MappingProxyType({})

    @abstractmethod
    def placeholder(self, number: int) -> str:
        """Return the mark that is inserted into a text for an image without a mark.

        Args:
            number: The number of the image in the prompt, from 1.
        """

    def marked(self, text: str, number: int) -> str:
        """Return a text without marks with one mark per image before it, each on its own line.

        Args:
            text: The text; may be empty.
            number: The number of images.
        """
        return "\n".join([*map(self.placeholder, range(1, number + 1)), *filter(None, [text])])

    @abstractmethod
    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """Return the token ids and features of a text.

        Args:
            text: The text with one mark for each image, or an empty string.
            images: The images in the order of the marks; at least one.
            add_special_tokens: True to add the tokenizer's special tokens.
            options: The chosen ``options`` by name, within their limits; missing ones keep their defaults.
        """
