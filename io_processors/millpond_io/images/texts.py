"""Texts with images in them, of models that read both in one sequence."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from millpond.context import Context
from millpond.pipeline.image_reader import ImageReader, TextWithImages
from millpond.types.errors import CheckpointError, InvalidInputError, MillpondError
from millpond.types.image_options import ImageOptions
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt
from millpond_io.images.files import PARAMETER
from millpond_io.images.inputs import Images, Source
from millpond_io.images.patches import as_rgb
from millpond_io.images.turns import TURNS
from millpond_io.text.lengths import Lengths

logger = logging.getLogger(__name__)
MOST_IMAGES = 32  # of a prompt where the program does not say; they are all in memory at once
UNBUILT = "images cannot be read for this model: what reads them cannot be built of its files; the log says why"
UNSUITABLE = "the model cannot read these images: one of them is too long and thin, or of another kind than it expects"


class ImageTexts:
    """Reads prompts that hold images, by the reader that the model brings."""

    def __init__(self, ctx: Context, reader: ImageReader) -> None:
        self.reader = reader
        self.model = ctx.model.model
        self.images = Images(ctx, most=ctx.inputs.limit_mm_per_prompt.get("image", MOST_IMAGES))
        self.reserved = np.array(sorted(reader.reserved_ids), dtype=np.int64)

    def opened(self, prompt: Prompt, data: Mapping[str, object]) -> Prompt:
        """A prompt whose images can be read one prompt after the other, with a mark in its text for each of them.

        Nothing is decoded: of a thousand prompts the images of one are in memory.

        Raises:
            InvalidInputError: If there are not as many marks as images, or something stands beside an image that the
                model reads alone, or its images cannot be read as is asked.
        """
        if prompt.token_ids is not None:
            message = "a prompt with images is given as a text, which has something that stands for each, not as ids"
            raise InvalidInputError(message, parameter="prompt_token_ids")
        given = self.images.each(data)
        text = prompt.text or ""
        if self.reader.alone:
            text = self._alone(text, len(given))
        marks = len(self.reader.mark.findall(text))
        if marks == 0:
            text = self.reader.marked(text, len(given))
        elif marks != len(given):
            message = f"the text has {marks} marks of images ({self.reader.placeholder(1)}), and there are {len(given)}"
            raise InvalidInputError(message, parameter=PARAMETER)
        options = ImageOptions(self.reader.chosen(prompt.image_options))
        return replace(prompt, text=text, multi_modal_data={"image": given}, image_options=options)

    def read(self, prompt: Prompt, params: PoolingParams, lengths: Lengths) -> TextWithImages:
        """The tokens and features of an opened prompt.

        Raises:
            InvalidInputError: If an image cannot be read, the model cannot read them, or they are too many tokens:
                images are not cut.
        """
        if self.reader.alone:
            self._alone(prompt.text or "", 1)
        sources = [self.images.source(one) for one in self.images.each(prompt.multi_modal_data or {})]
        with TURNS.taken(sum(source.pixels for source in sources)):
            found = self._read(prompt, sources)
        most = min(lengths.kept(params) or lengths.longest, lengths.longest)
        if len(found.input_ids) > most:
            message = (
                f"the prompt has {len(found.input_ids)} tokens with its images, and may have {most}: one with images "
                "is neither cut nor read in pieces. Make the images smaller, or take fewer"
            )
            raise InvalidInputError(message, parameter="prompts")
        return found

    def _read(self, prompt: Prompt, sources: list[Source]) -> TextWithImages:
        """What the model's reader makes of a prompt, whatever that stands on.

        Raises:
            InvalidInputError: If it makes nothing of it.
        """
        try:
            return self.reader.read(
                prompt.text or "",
                [as_rgb(source.decoded()) for source in sources],
                add_special_tokens=prompt.add_special_tokens,
                options={} if prompt.image_options is None else prompt.image_options.values,  # type: ignore[arg-type]  # as ``opened`` left them
            )
        except CheckpointError as error:
            logger.warning("images cannot be read: %s", " ".join(str(error).split()))
            raise InvalidInputError(UNBUILT, parameter=PARAMETER) from error
        except MillpondError:
            raise
        except Exception as error:  # noqa: BLE001  readers stand on libraries, and these raise what comes
            logger.info("images cannot be read: %r", error)
            raise InvalidInputError(UNSUITABLE, parameter=PARAMETER) from None

    def _alone(self, text: str, count: int) -> str:
        """What stands for the one image of a prompt, of a model that reads no text beside it."""
        written = self.reader.placeholder(1)
        if count == 1 and (text in ("", written) or self.reader.mark.fullmatch(text)):
            return written
        held = f"{count} images" if count > 1 else "an image and a text"
        message = (
            f"{self.model!r} reads one image, or a text, and this prompt has {held}: what the model has around an "
            "image is written by itself. Pass each as a prompt of its own"
        )
        raise InvalidInputError(message, parameter=PARAMETER)

    def check_ids(self, ids: NDArray[np.int64]) -> None:
        """Refuse a text without images that holds tokens which mean them."""
        if len(self.reserved) and np.isin(ids, self.reserved).any():
            message = (
                f"the prompt has what stands for an image to {self.model!r}, such as {self.reader.placeholder(1)!r}, "
                "and there is no image: pass it under 'multi_modal_data', or take that out of the text"
            )
            raise InvalidInputError(message, parameter=PARAMETER)


def image_texts(ctx: Context) -> ImageTexts | None:
    """What reads the model's texts with images; None if it reads none."""
    reader = ctx.image_reader()
    return None if reader is None else ImageTexts(ctx, reader)
