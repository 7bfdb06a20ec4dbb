"""Conversion of images to patches, with the same steps and rounding as the image processors of transformers."""

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

MAX_RESIZED_PIXELS = 2**25  # long and thin images would need too much memory before they are cropped
NUM_VALUES = 256  # of a channel
WHITE = (255, 255, 255, 255)
SCALE_TOLERANCE = 1e-5  # for the binary search of the scale, as in transformers


@dataclass(frozen=True)
class Patches:
    """The patches of an image.

    Attributes:
        pixels: The patches in row-major order, [rows * columns, patch_size ** 2 * 3]; a patch is flattened from
            [patch_size, patch_size, 3].
        grid: The numbers of rows and columns of patches.
    """

    pixels: NDArray[np.float32]
    grid: Size


class Patcher:
    """Converts images to patches, with the settings of a checkpoint."""

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings

    def __call__(self, image: "Image") -> Patches:
        """Return the patches of an image.

        Raises:
            InvalidInputError: If the image is too long and thin, or its number of patches does not fit the model.
        """
        size = self._resized_size(image.height, image.width)
        if size[0] * size[1] > MAX_RESIZED_PIXELS:
            message = (
                f"the image is too long and thin: resizing {image.width} by {image.height} pixels for the model gives "
                f"{size[1]} by {size[0]}. Crop it"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
        rgb = image if image.mode == "RGB" and not self.settings.converts_rgb else as_rgb(image)
        if size != (rgb.height, rgb.width):
            rgb = rgb.resize((size[1], size[0]), resample=self.settings.resample)
        values = np.asarray(rgb)
        if self.settings.crop is not None:
            values = center_crop(values, self.settings.crop)
        return self._split(values)

    def _resized_size(self, height: int, width: int) -> Size:
        """Return the height and width after resizing."""
        settings = self.settings
        if settings.max_patches is not None and settings.keeps_size:
            _check_patches(height, width, settings.patch_size, settings.max_patches)
            return height, width
        if settings.max_patches is not None:
            return size_for_patches(height, width, settings.patch_size, settings.max_patches)
        if settings.size is not None:
            return settings.size
        if settings.edge is None:
            return height, width
        short, long = min(height, width), max(height, width)
        other = int(settings.edge * long / short)
        return (other, settings.edge) if width <= height else (settings.edge, other)

    def _split(self, values: NDArray[np.uint8]) -> Patches:
        patch = self.settings.patch_size
        rows, columns = values.shape[0] // patch, values.shape[1] // patch
        if self.settings.grid not in (None, (rows, columns)):
            message = (
                f"preprocessor_config.json and config.json do not match: the first results in {rows} by {columns} "
                f"patches, the second in {self.settings.grid}"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
        patches = values[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch, 3)
        flat = patches.transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1, 3)
        pixels = np.stack([self._normalized[channel][flat[..., channel]] for channel in range(3)], axis=-1)
        return Patches(pixels.reshape(rows * columns, -1), (rows, columns))

    @cached_property
    def _normalized(self) -> NDArray[np.float32]:
        """The normalized number for each of the values 0 to 255, by channel, [3, 256]; rounded like transformers."""
        settings, values = self.settings, np.arange(NUM_VALUES)
        scaled = (values if settings.scale is None else values.astype(np.float64) * settings.scale).astype(np.float32)
        if settings.mean is None:
            return np.stack([scaled] * 3)
        mean, std = np.array(settings.mean, dtype=np.float32), np.array(settings.std, dtype=np.float32)
        normalized: NDArray[np.float32] = (scaled - mean[:, None]) / std[:, None]
        return normalized


def as_rgb(image: "Image") -> "Image":
    """Return the image in RGB, with transparent pixels on a white background."""
    from PIL import Image as images  # noqa: N813, PLC0415  an optional dependency

    if "A" in image.getbands() or image.info.get("transparency") is not None:
        rgba = image.convert("RGBA")
        return images.alpha_composite(images.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def center_crop(values: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Return the centre of an image, [height, width, 3]; smaller images are padded with black."""
    height, width = values.shape[:2]
    padded_height, padded_width = max(size[0], height), max(size[1], width)
    if (padded_height, padded_width) != (height, width):
        above, before = ceil((padded_height - height) / 2), ceil((padded_width - width) / 2)
        padded = np.zeros((padded_height, padded_width, 3), dtype=values.dtype)
        padded[above : above + height, before : before + width] = values
        # As in transformers, the centre is that of the unpadded image, rounded down.
        top, left = (height - size[0]) // 2 + above, (width - size[1]) // 2 + before
        return padded[max(top, 0) : min(padded_height, top + size[0]), max(left, 0) : min(padded_width, left + size[1])]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return values[top : top + size[0], left : left + size[1]]


def _check_patches(height: int, width: int, patch: int, max_patches: int) -> None:
    """Check the size of an image that is not resized."""
    if height % patch or width % patch or (height // patch) * (width // patch) > max_patches:
        message = (
            f"the image is {width} by {height} pixels. The model does not resize images (do_resize): both sides must "
            f"be multiples of {patch} pixels, with at most {max_patches} patches"
        )
        raise InvalidInputError(message, parameter="multi_modal_data")


def size_for_patches(height: int, width: int, patch: int, max_patches: int) -> Size:
    """Return the largest size with at most ``max_patches`` whole patches and nearly the aspect ratio of the image."""

    def scaled(scale: float, size: int) -> int:
        return max(patch, int(ceil(size * scale / patch) * patch))

    low, high = SCALE_TOLERANCE / 10, 100.0
    while high - low >= SCALE_TOLERANCE:
        scale = (low + high) / 2
        if (scaled(scale, height) / patch) * (scaled(scale, width) / patch) <= max_patches:
            low = scale
        else:
            high = scale
    return scaled(low, height), scaled(low, width)
