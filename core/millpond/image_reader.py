"""ImageReader: how a model reads texts that hold images. IO processors get it from ``ctx.image_reader()``."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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
    """

    mark: re.Pattern[str]
    images_first: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    chat_template: ClassVar[str | None] = None

    def __init__(self, ctx: "Context") -> None:
        self.ctx = ctx

    @property
    def reserved_ids(self) -> frozenset[int]:
        """Tokens that mean images: a text without images must not hold them."""
        return frozenset()

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
    def read(self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool) -> TextWithImages:
        """The tokens and features of a text.

        Args:
            text: It holds a mark for each image; or nothing at all.
            images: In the order of the marks; at least one.
            add_special_tokens: Whether the tokenizer's special tokens are added to those that are written.
        """
