"""ImageReader: how a model reads texts that hold images. IO processors get it from ``ctx.image_reader()``."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from millpond.types.image_options import ImageOption, ImageOptions, chosen_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from millpond.context import Context


@dataclass(frozen=True, kw_only=True)
class TextWithImages:
    """A text with its images, as the model reads it.

    Attributes:
        input_ids: The token ids, [num_tokens], int64; each image stands as the tokens whose places it takes.
        features: What the model needs of the images, by names of its own; it comes to it as the sequence's features.
    """

    input_ids: "NDArray[np.int64]"
    features: Mapping[str, object]


class ImageReader(ABC):
    """Makes tokens and features of a text and its images. It may be called from any thread.

    Images come decoded, of a bounded size, in RGB. What it raises that is no ``InvalidInputError`` goes to the log, and
    who asked learns that the images do not suit the model.

    Attributes:
        mark: What stands for an image in a text.
        images_first: Whether images stand before all texts, as ``marked`` puts them, unless a caller marks places.
        alone: Whether a prompt is one image, and no text beside: what is written around it is the reader's own.
        chat_template: How messages are written where neither caller nor checkpoint says; None for a line each.
        synonyms: Other names of ``options``; those of the parts of an object have a dot, as ``size.longest_edge``.
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
        """Tokens that mean images: a text without images must not hold them."""
        return frozenset()

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """What callers may say of how large images are read, as ``mm_processor_kwargs``; none by default.

        The more, the larger: by that it is told which requests may be followed. A ``min_`` and a ``max_`` of one name
        go together. Nothing here may name files, devices or code.
        """
        return MappingProxyType({})

    def chosen(self, asked: ImageOptions | None) -> dict[str, int]:
        """The options that are chosen for a prompt: its own, else those that the model was loaded with.

        Raises:
            InvalidInputError: If one is not known, or does not fit.
        """
        loaded = self.ctx.inputs.mm_processor_kwargs
        if not loaded and (asked is None or not asked.values):
            return {}
        return chosen_options(self.options, self.synonyms, loaded, asked)

    @abstractmethod
    def placeholder(self, number: int) -> str:
        """What is written into a text for an image that nobody wrote one for.

        Args:
            number: The place of the image among those of the prompt, from 1.
        """

    def marked(self, text: str, number: int) -> str:
        """A text that holds no mark, with one for each image: before it, a line each.

        Args:
            text: It may be empty.
            number: How many images there are.
        """
        return "\n".join([*map(self.placeholder, range(1, number + 1)), *filter(None, [text])])

    @abstractmethod
    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """The tokens and features of a text.

        Args:
            text: It holds a mark for each image; or nothing at all.
            images: In the order of the marks; at least one.
            add_special_tokens: Whether the tokenizer's special tokens are added to those that are written.
            options: Those of ``options`` that were chosen, by name, within their limits; the others are as they are.
        """
