"""Prompts with texts and images in one sequence, for vision-language models."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from millpond.context import Context
from millpond.types.errors import CheckpointError, InvalidInputError, MillpondError
from millpond.types.params import PoolingParams
from millpond_io.images.decode_slots import DECODE_SLOTS
from millpond_io.images.files import PARAMETER
from millpond_io.images.inputs import ImageInputs, UndecodedImage
from millpond_io.images.options import chosen_options
from millpond_io.images.patches import as_rgb
from millpond_io.text.lengths import Lengths
from millpond_modeling.images import ImageOptions, ImageReader, TextWithImages, image_reader
from millpond_text.prompt import Prompt

logger = logging.getLogger(__name__)
DEFAULT_MAX_IMAGES = 32  # per prompt; all images of a prompt are in memory at the same time
READER_UNAVAILABLE = "the model cannot read images: its image processor could not be created; the log has the reason"
UNSUITABLE_IMAGES = "the model cannot read these images: one of them is too long and thin, or has an unsupported format"


class ImageTexts:
    """Reads prompts with images, with the image reader of the model."""

    def __init__(self, ctx: Context, reader: ImageReader) -> None:
        self.reader = reader
        chosen_options(reader, None)  # report invalid options of the model now instead of at each call
        self.model = ctx.model.model
        limit = ctx.inputs.limit_mm_per_prompt.get("image", DEFAULT_MAX_IMAGES)
        self.images = ImageInputs(ctx, max_images=limit)
        self.reserved = np.array(sorted(reader.reserved_ids), dtype=np.int64)

    def opened(self, prompt: Prompt, data: Mapping[str, object]) -> Prompt:
        """Validate a prompt with images; the text of the result has a placeholder for each image.

        The images are not decoded here, so that only the images of one prompt of a call are in memory at a time.

        Raises:
            InvalidInputError: If the number of placeholders is not the number of images, the model does not support a
                text with an image, or the image options are invalid.
        """
        if prompt.token_ids is not None:
            message = "a prompt with images must be a text with a placeholder for each image, not token ids"
            raise InvalidInputError(message, parameter="prompt_token_ids")
        images = self.images.values_of(data)
        text = prompt.text or ""
        if self.reader.alone:
            text = self._single_placeholder(text, len(images))
        num_placeholders = len(self.reader.mark.findall(text))
        if num_placeholders == 0:
            text = self.reader.marked(text, len(images))
        elif num_placeholders != len(images):
            message = (
                f"the text has {num_placeholders} image placeholders ({self.reader.placeholder(1)}), but the number of "
                f"images is {len(images)}"
            )
            raise InvalidInputError(message, parameter=PARAMETER)
        options = ImageOptions(chosen_options(self.reader, prompt.image_options))
        return replace(prompt, text=text, multi_modal_data={"image": images}, image_options=options)

    def read(self, prompt: Prompt, params: PoolingParams, lengths: Lengths) -> TextWithImages:
        """Return the tokens and features of a validated prompt.

        Raises:
            InvalidInputError: If an image cannot be read, or the prompt has too many tokens; prompts with images are
                not truncated.
        """
        if self.reader.alone:
            self._single_placeholder(prompt.text or "", 1)
        images = [self.images.open(value) for value in self.images.values_of(prompt.multi_modal_data or {})]
        with DECODE_SLOTS.acquire(sum(image.pixels for image in images)):
            inputs = self._read(prompt, images)
        limit = min(lengths.kept(params) or lengths.longest, lengths.longest)
        if len(inputs.input_ids) > limit:
            message = (
                f"the prompt has {len(inputs.input_ids)} tokens with its images; the maximum is {limit}. Prompts with "
                "images are neither truncated nor chunked: use smaller or fewer images"
            )
            raise InvalidInputError(message, parameter="prompts")
        return inputs

    def _read(self, prompt: Prompt, images: list[UndecodedImage]) -> TextWithImages:
        """Return the tokens and features from the model's image reader.

        Raises:
            InvalidInputError: If the reader fails.
        """
        try:
            return self.reader.read(
                prompt.text or "",
                [as_rgb(image.decode()) for image in images],
                add_special_tokens=prompt.add_special_tokens,
                options={} if prompt.image_options is None else prompt.image_options.values,  # type: ignore[arg-type]  # set by ``opened``
            )
        except CheckpointError as error:
            logger.warning("images cannot be read: %s", " ".join(str(error).split()))
            raise InvalidInputError(READER_UNAVAILABLE, parameter=PARAMETER) from error
        except MillpondError:
            raise
        except Exception as error:  # noqa: BLE001  libraries that readers use raise any exception
            logger.info("images cannot be read: %r", error)
            raise InvalidInputError(UNSUITABLE_IMAGES, parameter=PARAMETER) from None

    def _single_placeholder(self, text: str, num_images: int) -> str:
        """Return the placeholder for the only image of a prompt, for a model that reads an image without a text."""
        placeholder = self.reader.placeholder(1)
        if num_images == 1 and (text in ("", placeholder) or self.reader.mark.fullmatch(text)):
            return placeholder
        contents = f"{num_images} images" if num_images > 1 else "an image and a text"
        message = (
            f"{self.model!r} reads one image or one text per prompt, but this prompt has {contents}. Pass separate "
            "prompts; the model adds its own text to an image"
        )
        raise InvalidInputError(message, parameter=PARAMETER)

    def check_ids(self, ids: NDArray[np.int64]) -> None:
        """Raise an error if the tokens of a prompt without images contain image placeholders."""
        if len(self.reserved) and np.isin(ids, self.reserved).any():
            message = (
                f"the prompt contains an image placeholder of {self.model!r}, such as {self.reader.placeholder(1)!r}, "
                "but no image: pass the image in 'multi_modal_data', or remove the placeholder"
            )
            raise InvalidInputError(message, parameter=PARAMETER)


def image_texts(ctx: Context) -> ImageTexts | None:
    """Return the reader of prompts with images; None if the model does not support them."""
    reader = image_reader(ctx)
    return None if reader is None else ImageTexts(ctx, reader)
