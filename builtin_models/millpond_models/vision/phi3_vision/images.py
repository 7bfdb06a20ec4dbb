"""Image reader of Phi-3-vision: an image is resized, cut into square crops, and also read as a whole.

Follows the paper (Abdin et al., 2024, arXiv 2404.14219), which uses InternLM-XComposer2-4KHD (Dong et al., 2024, arXiv
2404.06512): the grid of crops is the widest one that keeps the aspect ratio and has at most ``num_crops`` crops.
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
from millpond.model.files import read_object
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_modeling.images import ImageOption, ImageReader, TextWithImages
from millpond_models.vision.image_rows import ROWS
from millpond_models.vision.phi3_vision.specs import VLM2VEC_TEMPLATE

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[np.float32]
Grid = tuple[int, int]
CROPS, GRIDS = "crops", "grids"  # features: the crops of all images, and the rows and columns of each image
PREPROCESSOR_CONFIG = "preprocessor_config.json"
PLACEHOLDER = "<|image|>"  # the token whose embeddings are replaced
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WHITE = (255, 255, 255)
CUBIC_A = -0.75  # parameter a of cubic convolution (Keys, 1981), as in torch
CUBIC_TAPS = 4
NUM_CROPS, MAX_NUM_CROPS = "num_crops", 256


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Settings for cutting an image into crops.

    Attributes:
        max_crops: Maximum number of crops, without that of the whole image.
        side: Height, and width, of a crop in pixels.
        patch: Height, and width, of a patch in pixels.
        mean: Mean of each channel, subtracted from values between 0 and 1.
        std: Standard deviation of each channel.
    """

    max_crops: int
    side: int
    patch: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def read(self, image: "Image") -> tuple[Array, Grid]:
        """Return the patches of the crops of an image, and the rows and columns of its crops.

        Returns:
            [1 + rows * columns, num_patches, patch ** 2 * 3]: the whole image, then the crops row by row; each patch is
            ordered by rows, columns and channels.
        """
        values = np.asarray(self.resized(image), dtype=np.float32) / np.float32(255)
        mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.mean, self.std))
        values = (values - mean) / std  # [height, width, 3]
        rows, columns = (length // self.side for length in values.shape[:2])
        whole = interpolated(interpolated(values, self.side, axis=0), self.side, axis=1)
        split = values.reshape(rows, self.side, columns, self.side, -1).swapaxes(1, 2)
        crops = np.concatenate([whole[None], split.reshape(-1, *whole.shape)])
        return self._patches(crops), (rows, columns)

    def resized(self, image: "Image") -> "Image":
        """Return the image resized to whole crops; the aspect ratio is kept and the rest is padded with white.

        A portrait image is transposed before and after.
        """
        from PIL.Image import Resampling, Transpose, new  # noqa: PLC0415  Pillow is only needed for images

        is_portrait = image.width < image.height
        landscape = image.transpose(Transpose.TRANSPOSE) if is_portrait else image
        ratio = landscape.width / landscape.height
        width = self.columns(ratio) * self.side
        height = int(width / ratio)
        resized = landscape.resize((width, height), Resampling.BILINEAR)
        padded_height = ceil(height / self.side) * self.side
        padded = new("RGB", (width, padded_height), WHITE)
        padded.paste(resized, (0, (padded_height - height) // 2))
        return padded.transpose(Transpose.TRANSPOSE) if is_portrait else padded

    def columns(self, ratio: float) -> int:
        """Return the maximum number of columns of crops for a width-to-height ratio."""
        columns = 1
        while (columns + 1) * ceil((columns + 1) / ratio) <= self.max_crops:
            columns += 1
        return columns

    def _patches(self, crops: Array) -> Array:
        count, across, size = len(crops), self.side // self.patch, self.patch
        split = crops.reshape(count, across, size, across, size, -1).swapaxes(2, 3)
        return np.ascontiguousarray(split.reshape(count, across**2, -1))


def interpolated(values: Array, size: int, *, axis: int) -> Array:
    """Return the values resized along an axis by bicubic interpolation of the nearest pixels, without antialiasing."""
    length = values.shape[axis]
    positions = (np.arange(size) + 0.5) * (length / size) - 0.5
    first = np.floor(positions)
    total: Array = np.zeros((), dtype=np.float32)
    for tap in range(-1, CUBIC_TAPS - 1):
        weights = np.array([_cubic_weight(abs(distance)) for distance in positions - first - tap], dtype=np.float32)
        neighbours = values.take(np.clip(first.astype(np.int64) + tap, 0, length - 1), axis=axis)
        total = total + neighbours * np.expand_dims(weights, tuple(i for i in range(values.ndim) if i != axis))
    return total


def _cubic_weight(distance: float) -> float:
    """Return the cubic convolution weight at a distance from 0 to 2."""
    a = CUBIC_A
    if floor(distance) < 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


def num_rows(grid: Grid, across: int) -> int:
    """Return the number of tokens of an image.

    Each 2 by 2 block of patches is one token. One more token ends each line of blocks, and another separates the crops
    from the whole image.

    Args:
        grid: Rows and columns of crops.
        across: Blocks per line of a crop, half the number of patches.
    """
    rows, columns = grid
    return (rows * columns + 1) * across**2 + 1 + (rows + 1) * across


class Phi3Images(ImageReader):
    """Reads texts with ``<|image_1|>``, ``<|image_2|>`` and so on; the parts between are tokenized separately."""

    mark = re.compile(r"<\|image_([0-9]+)\|>")
    chat_template = VLM2VEC_TEMPLATE

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        vision = ctx.config["vision_config"]
        self.side, self.patch = int(vision["image_size"]), int(vision["patch_size"])
        token_id = None if ctx.tokenizer is None else ctx.tokenizer.backend.token_to_id(PLACEHOLDER)
        self.image_id = token_id if token_id is not None and token_id < ctx.config.vocab_size else 0

    @cached_property
    def crops(self) -> Crops:
        """The settings of preprocessor_config.json, read with the first image.

        ``num_crops`` in config.json, which ``hf_overrides`` can set, takes precedence.

        Raises:
            CheckpointError: If a setting is invalid.
        """
        folder = self.ctx.repository.transformer_path
        settings = read_object(folder / PREPROCESSOR_CONFIG)
        max_crops = self.ctx.config.get("num_crops", settings.get("num_crops", 1))
        if isinstance(max_crops, bool) or not isinstance(max_crops, int) or max_crops < 1:
            message = f"{folder / PREPROCESSOR_CONFIG}: num_crops must be a positive integer; got {max_crops!r}"
            raise CheckpointError(message)
        mean = self._channels(settings, "image_mean", CLIP_MEAN)
        std = self._channels(settings, "image_std", CLIP_STD)
        return Crops(max_crops=max_crops, side=self.side, patch=self.patch, mean=mean, std=std)

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """Maximum number of crops of an image."""
        return {NUM_CROPS: ImageOption(self.crops.max_crops, MAX_NUM_CROPS)}

    def placeholder(self, number: int) -> str:
        """Return the numbered placeholder of an image, such as ``<|image_1|>``."""
        return f"<|image_{number}|>"

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """Return the tokens and features of a text; special tokens are added to each part of it, as in training.

        Raises:
            InvalidInputError: If its placeholders are not numbered from 1, with each image exactly once.
        """
        parts = self.mark.split(text)
        numbers = [int(number) for number in parts[1::2]]
        if sorted(numbers) != list(range(1, len(images) + 1)):
            message = (
                f"the placeholders of images are numbered {', '.join(map(str, numbers))}; with {len(images)} images, "
                f"each of {self.placeholder(1)} to {self.placeholder(len(images))} must occur once"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
        settings = replace(self.crops, max_crops=options.get(NUM_CROPS, self.crops.max_crops))
        crops_and_grids = [settings.read(images[number - 1]) for number in numbers]
        text_ids = [np.array(ids, dtype=np.int64) for ids in self._encode(parts[::2], special=add_special_tokens)]
        ids, rows, length = [text_ids[0]], [], len(text_ids[0])
        for (_, grid), following in zip(crops_and_grids, text_ids[1:], strict=True):
            count = num_rows(grid, self.side // self.patch // 2)
            rows.append(np.arange(length, length + count))
            ids += [np.full(count, self.image_id, dtype=np.int64), following]
            length += count + len(following)
        features: dict[str, object] = {
            ROWS: np.concatenate(rows),
            CROPS: np.concatenate([crops for crops, _ in crops_and_grids]),
            GRIDS: np.array([grid for _, grid in crops_and_grids], dtype=np.int64),
        }
        return TextWithImages(input_ids=np.concatenate(ids), features=features)

    def _encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        tokenizer = self.ctx.tokenizer
        if tokenizer is None:
            message = f"{self.ctx.model.model!r} has no tokenizer, which texts with images require"
            raise CheckpointError(message)
        return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=special)]

    def _channels(self, settings: dict[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        stated = settings.get(key) or default
        numbers = tuple(stated) if isinstance(stated, list | tuple) else ()
        if len(numbers) != len(default) or not all(isinstance(number, int | float) for number in numbers):
            message = f"{PREPROCESSOR_CONFIG}: {key} must be one number per channel; got {stated!r}"
            raise CheckpointError(message)
        return tuple(float(number) for number in numbers)
