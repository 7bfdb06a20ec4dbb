"""ImageReader: from a text with images to token ids and features, and the options of image sizes."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from millpond.plugin.blame import blamed_plugin
from millpond.plugin.target import imported, load_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from millpond.context import Context

PARAMETER = "mm_processor_kwargs"


@dataclass(frozen=True)
class ImageOption:
    """An option of the image size: a number, with larger images for larger numbers, or a flag.

    Attributes:
        value: The default value; a bool for a flag.
        most: The maximum value.
    """

    value: int
    most: int = 1


@dataclass(frozen=True)
class ImageOptions:
    """The options of the images of a prompt, not yet checked.

    Attributes:
        values: The values by name.
        may_grow: True if images may become larger than with the options of the loaded model; False for requests of
            clients.
    """

    values: Mapping[str, object]
    may_grow: bool = True


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


def image_reader(ctx: "Context") -> ImageReader | None:
    """Build the reader of images, and of texts that contain images; None if the model reads no images.

    Raises:
        UnknownNameError: If the target in the model's record cannot be imported.
    """
    target = ctx.model.multimodal.image_reader
    if target is None:
        return None
    owner = ctx.registry.architectures.find(ctx.model.architecture)
    reader_class = imported(target) if owner is None else load_target(target, owner, "extras.image_processor")
    with blamed_plugin(owner, f"has an image_reader {target!r} that failed"):
        reader: ImageReader = reader_class(ctx)
    return reader
