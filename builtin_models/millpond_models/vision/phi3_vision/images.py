"""Texts with images for Phi-3-vision: an image is resized by its shape, cut into squares, and seen as a whole too.

As its paper has it (Abdin et al., 2024, arXiv 2404.14219), after InternLM-XComposer2-4KHD (Dong et al., 2024, arXiv
2404.06512): of all grids of squares that do not exceed ``num_crops``, the widest that keeps the shape is taken.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from millpond.context import Context
from millpond.loading.files import read_object
from millpond.loading.repository import repository_of
from millpond.pipeline.image_reader import ImageReader, TextWithImages
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond.types.image_options import ImageOption
from millpond_models.vision.image_rows import ROWS
from millpond_models.vision.phi3_vision.specs import VLM2VEC

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[np.float32]
Grid = tuple[int, int]
SQUARES, GRIDS = "squares", "grids"  # features: of all images end to end, and the rows and columns of each
SETTINGS = "preprocessor_config.json"
IMAGE = "<|image|>"  # what stands in the ids where an image is; its vector is not read
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
WHITE = (255, 255, 255)
BEND = -0.75  # of bicubic interpolation (Keys, 1981), as torch has it
TAPS = 4
NUM_CROPS, MOST_CROPS = "num_crops", 256


@dataclass(frozen=True, kw_only=True)
class Crops:
    """How an image becomes squares.

    Attributes:
        most: The most squares that it is cut into.
        side: The pixels of a side of a square.
        patch: The pixels of a side of a patch.
        mean: What is subtracted from values between 0 and 1, by channel.
        std: What they are divided by then.
    """

    most: int
    side: int
    patch: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def read(self, image: "Image") -> tuple[Array, Grid]:
        """The squares of an image, the first of which is all of it, and the rows and columns of the others.

        Returns:
            [1 + rows * columns, num_patches, patch ** 2 * 3], each patch by rows, columns and channels; and those two.
        """
        values = np.asarray(self.fitted(image), dtype=np.float32) / np.float32(255)
        mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.mean, self.std))
        values = (values - mean) / std  # [height, width, 3]
        rows, columns = (length // self.side for length in values.shape[:2])
        whole = interpolated(interpolated(values, self.side, axis=0), self.side, axis=1)
        cut = values.reshape(rows, self.side, columns, self.side, -1).swapaxes(1, 2)
        squares = np.concatenate([whole[None], cut.reshape(-1, *whole.shape)])
        return self._patches(squares), (rows, columns)

    def fitted(self, image: "Image") -> "Image":
        """An image in the size of whole squares: resized with its shape kept, white above and below it.

        One that is higher than it is wide is treated lying on its side.
        """
        from PIL.Image import Resampling, Transpose, new  # noqa: PLC0415  a model that is read texts needs no Pillow

        lies = image.width < image.height
        wide = image.transpose(Transpose.TRANSPOSE) if lies else image
        ratio = wide.width / wide.height
        width = self.columns(ratio) * self.side
        height = int(width / ratio)
        resized = wide.resize((width, height), Resampling.BILINEAR)
        full = ceil(height / self.side) * self.side
        padded = new("RGB", (width, full), WHITE)
        padded.paste(resized, (0, (full - height) // 2))
        return padded.transpose(Transpose.TRANSPOSE) if lies else padded

    def columns(self, ratio: float) -> int:
        """The most columns of squares for an image that is so many times as wide as it is high."""
        columns = 1
        while (columns + 1) * ceil((columns + 1) / ratio) <= self.most:
            columns += 1
        return columns

    def _patches(self, squares: Array) -> Array:
        count, across, size = len(squares), self.side // self.patch, self.patch
        cut = squares.reshape(count, across, size, across, size, -1).swapaxes(2, 3)
        return np.ascontiguousarray(cut.reshape(count, across**2, -1))


def interpolated(values: Array, size: int, *, axis: int) -> Array:
    """Values resized along an axis, bicubic, between those that are nearest, whatever lies between these."""
    length = values.shape[axis]
    places = (np.arange(size) + 0.5) * (length / size) - 0.5
    first = np.floor(places)
    result: Array = np.zeros((), dtype=np.float32)
    for tap in range(-1, TAPS - 1):
        weights = np.array([_weight(abs(distance)) for distance in places - first - tap], dtype=np.float32)
        taken = values.take(np.clip(first.astype(np.int64) + tap, 0, length - 1), axis=axis)
        result = result + taken * np.expand_dims(weights, tuple(i for i in range(values.ndim) if i != axis))
    return result


def _weight(distance: float) -> float:
    """What a value counts at a distance from 0 to 2."""
    if floor(distance) < 1:
        return ((BEND + 2) * distance - (BEND + 3)) * distance**2 + 1
    return ((BEND * distance - 5 * BEND) * distance + 8 * BEND) * distance - 4 * BEND


def num_rows(grid: Grid, across: int) -> int:
    """The tokens that an image takes the places of.

    Four patches become one row; a row more ends each line of them, and another stands between the squares and the
    whole.

    Args:
        grid: The rows and columns of its squares.
        across: The rows that a line of a square has, half as many as it has patches.
    """
    rows, columns = grid
    return (rows * columns + 1) * across**2 + 1 + (rows + 1) * across


class Phi3Images(ImageReader):
    """Reads texts with ``<|image_1|>``, ``<|image_2|>`` ... in them: the pieces between are tokenised one by one."""

    mark = re.compile(r"<\|image_([0-9]+)\|>")
    chat_template = VLM2VEC

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        vision = ctx.config["vision_config"]
        self.side, self.patch = int(vision["image_size"]), int(vision["patch_size"])
        number = None if ctx.tokenizer is None else ctx.tokenizer.backend.token_to_id(IMAGE)
        self.image_id = number if number is not None and number < ctx.config.vocab_size else 0

    @cached_property
    def crops(self) -> Crops:
        """How images become squares, as preprocessor_config.json says; read when the first image comes.

        ``num_crops`` among the keys of config.json, where ``hf_overrides`` puts it, counts more.

        Raises:
            CheckpointError: If it says what cannot be done.
        """
        folder = repository_of(self.ctx).transformer_path
        said = read_object(folder / SETTINGS)
        most = self.ctx.config.get("num_crops", said.get("num_crops", 1))
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            message = f"{folder / SETTINGS}: num_crops must be a positive number of squares; got {most!r}"
            raise CheckpointError(message)
        mean, std = (self._channels(said, name, default) for name, default in (("mean", MEAN), ("std", STD)))
        return Crops(most=most, side=self.side, patch=self.patch, mean=mean, std=std)

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """The most squares that an image is cut into."""
        return {NUM_CROPS: ImageOption(self.crops.most, MOST_CROPS)}

    def placeholder(self, number: int) -> str:
        """The mark of an image, which counts those of a prompt."""
        return f"<|image_{number}|>"

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """The tokens and features of a text; special tokens are added to each piece of it, as the model was trained.

        Raises:
            InvalidInputError: If its marks are not numbered from 1, each image once.
        """
        parts = self.mark.split(text)
        numbers = [int(number) for number in parts[1::2]]
        if sorted(numbers) != list(range(1, len(images) + 1)):
            message = (
                f"the marks of images are numbered {', '.join(map(str, numbers))}; of {len(images)} images each is "
                f"marked once, from {self.placeholder(1)} to {self.placeholder(len(images))}"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
        crops = replace(self.crops, most=options.get(NUM_CROPS, self.crops.most))
        read = [crops.read(images[number - 1]) for number in numbers]
        pieces = [np.array(ids, dtype=np.int64) for ids in self._encoded(parts[::2], special=add_special_tokens)]
        ids, rows, length = [pieces[0]], [], len(pieces[0])
        for (_, grid), piece in zip(read, pieces[1:], strict=True):
            count = num_rows(grid, self.side // self.patch // 2)
            rows.append(np.arange(length, length + count))
            ids += [np.full(count, self.image_id, dtype=np.int64), piece]
            length += count + len(piece)
        features: dict[str, object] = {
            ROWS: np.concatenate(rows),
            SQUARES: np.concatenate([squares for squares, _ in read]),
            GRIDS: np.array([grid for _, grid in read], dtype=np.int64),
        }
        return TextWithImages(input_ids=np.concatenate(ids), features=features)

    def _encoded(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        tokenizer = self.ctx.tokenizer
        if tokenizer is None:
            message = f"{self.ctx.model.model!r} has no tokenizer, and a text with images needs one"
            raise CheckpointError(message)
        return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=special)]

    def _channels(self, said: dict[str, Any], name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        given = said.get(f"image_{name}") or default
        numbers = tuple(given) if isinstance(given, list | tuple) else ()
        if len(numbers) != len(default) or not all(isinstance(one, int | float) for one in numbers):
            message = f"{SETTINGS}: image_{name} must be a number for each channel; got {given!r}"
            raise CheckpointError(message)
        return tuple(float(one) for one in numbers)
