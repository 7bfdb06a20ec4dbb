"""From an image to the patches that a model reads, in the steps and roundings of transformers' image processors."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from millpond.types.errors import InvalidInputError
from millpond_io.images.settings import ImageSettings, Size

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_RESIZED = 2**25  # pixels; what is longer and thinner would take too much memory on its way to a small square
VALUES = 256
WHITE = (255, 255, 255, 255)
TOLERANCE = 1e-5  # of the scale that is searched, as in transformers


@dataclass(frozen=True)
class Patches:
    """An image as a model reads it.

    Attributes:
        pixels: The patches, row by row, [rows * columns, patch_size ** 2 * 3]; each by rows, columns and channels.
        grid: The rows and columns of patches.
    """

    pixels: NDArray[np.float32]
    grid: Size


class Patcher:
    """Makes patches of images, by the settings of a checkpoint."""

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings

    def __call__(self, image: "Image") -> Patches:
        """The patches of an image.

        Raises:
            InvalidInputError: If it is too long and thin, or gives another number of patches than the model reads.
        """
        size = self._resized_size(image.height, image.width)
        if size[0] * size[1] > MOST_RESIZED:
            message = (
                f"the image is {image.width} by {image.height} pixels, and would be {size[1]} by {size[0]} on its way "
                "to the model: it is too long and thin. Cut it"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
        rgb = as_rgb(image)
        if size != (rgb.height, rgb.width):
            rgb = rgb.resize((size[1], size[0]), resample=self.settings.resample)
        values = np.asarray(rgb)
        if self.settings.crop is not None:
            values = center_crop(values, self.settings.crop)
        return self._cut(values)

    def _resized_size(self, height: int, width: int) -> Size:
        """The height and width after resizing."""
        settings = self.settings
        if settings.most_patches is not None and settings.keeps_size:
            _check_patches(height, width, settings.patch_size, settings.most_patches)
            return height, width
        if settings.most_patches is not None:
            return size_of_patches(height, width, settings.patch_size, settings.most_patches)
        if settings.size is not None:
            return settings.size
        if settings.edge is None:
            return height, width
        short, long = min(height, width), max(height, width)
        other = int(settings.edge * long / short)
        return (other, settings.edge) if width <= height else (settings.edge, other)

    def _cut(self, values: NDArray[np.uint8]) -> Patches:
        patch = self.settings.patch_size
        rows, columns = values.shape[0] // patch, values.shape[1] // patch
        if self.settings.grid not in (None, (rows, columns)):
            message = (
                f"an image becomes {rows} by {columns} patches by the settings beside the model, which reads "
                f"{self.settings.grid}: preprocessor_config.json and config.json are not of one model"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
        cut = values[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch, 3)
        flat = cut.transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1, 3)
        pixels = np.stack([self._numbers[channel][flat[..., channel]] for channel in range(3)], axis=-1)
        return Patches(pixels.reshape(rows * columns, -1), (rows, columns))

    @cached_property
    def _numbers(self) -> NDArray[np.float32]:
        """What each of the values 0 to 255 becomes, by channel, [3, 256]; rounded where transformers rounds."""
        settings, values = self.settings, np.arange(VALUES)
        scaled = (values if settings.scale is None else values.astype(np.float64) * settings.scale).astype(np.float32)
        if settings.mean is None:
            return np.stack([scaled] * 3)
        mean, std = np.array(settings.mean, dtype=np.float32), np.array(settings.std, dtype=np.float32)
        numbers: NDArray[np.float32] = (scaled - mean[:, None]) / std[:, None]
        return numbers


def as_rgb(image: "Image") -> "Image":
    """The image in red, green and blue; what shines through is white."""
    from PIL import Image as images  # noqa: N813, PLC0415  only for who has images

    if "A" in image.getbands() or image.info.get("transparency") is not None:
        over = image.convert("RGBA")
        return images.alpha_composite(images.new("RGBA", over.size, WHITE), over).convert("RGB")
    return image.convert("RGB")


def center_crop(values: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The middle of an image [height, width, 3]; one that is smaller stands in the middle of black."""
    height, width = values.shape[:2]
    taller, wider = max(size[0], height), max(size[1], width)
    if (taller, wider) != (height, width):
        above, left = ceil((taller - height) / 2), ceil((wider - width) / 2)
        whole = np.zeros((taller, wider, 3), dtype=values.dtype)
        whole[above : above + height, left : left + width] = values
        # Where the middle lies was decided by the image as it was, half a pixel rounded down.
        top, start = (height - size[0]) // 2 + above, (width - size[1]) // 2 + left
        return whole[max(top, 0) : min(taller, top + size[0]), max(start, 0) : min(wider, start + size[1])]
    top, start = (height - size[0]) // 2, (width - size[1]) // 2
    return values[top : top + size[0], start : start + size[1]]


def _check_patches(height: int, width: int, patch: int, most: int) -> None:
    """Refuse an image that is not resized and does not fit."""
    if height % patch or width % patch or (height // patch) * (width // patch) > most:
        message = (
            f"the image is {width} by {height} pixels, and the settings beside the model (do_resize) leave it so: it "
            f"must be of at most {most} whole patches of {patch} by {patch} pixels"
        )
        raise InvalidInputError(message, parameter="multi_modal_data")


def size_of_patches(height: int, width: int, patch: int, most: int) -> Size:
    """The largest height and width, in whole patches and near the image's shape, of so many patches at most."""

    def scaled(scale: float, size: int) -> int:
        return max(patch, int(ceil(size * scale / patch) * patch))

    low, high = TOLERANCE / 10, 100.0
    while high - low >= TOLERANCE:
        scale = (low + high) / 2
        if (scaled(scale, height) / patch) * (scaled(scale, width) / patch) <= most:
            low = scale
        else:
            high = scale
    return scaled(low, height), scaled(low, width)
