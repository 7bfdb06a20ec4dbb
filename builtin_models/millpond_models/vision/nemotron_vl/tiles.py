"""Cuts an image into square tiles, plus a thumbnail of the whole image.

The grid is chosen as in Eagle 2 (Li et al., 2025, arXiv 2501.14818) rather than InternVL: the score of a grid is the
fraction of the image's area that it covers, capped at 60 %, times the similarity of the aspect ratios.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

MAX_COVERED_AREA = 0.6  # as a fraction of the image's area; more does not improve the score
MEAN = STD = np.float32(0.5)  # SigLIP's normalization of pixel values
BICUBIC = 3  # Pillow's constant


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Settings for cutting an image into tiles.

    Attributes:
        size: Height, and width, of a tile in pixels.
        min_tiles: Minimum number of tiles.
        max_tiles: Maximum number of tiles, without the thumbnail.
        thumbnail: True to append the whole image as one more tile if there are several.
    """

    size: int
    min_tiles: int = 1
    max_tiles: int = 6
    thumbnail: bool = True

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Return the columns and rows of tiles for an image with the given size in pixels."""
        ratio, area = width / height, width * height

        def score(grid: tuple[int, int]) -> float:
            grid_ratio = grid[0] / grid[1]
            covered = (grid[0] * grid[1] * self.size * self.size) / area
            return min(covered, MAX_COVERED_AREA) * min(grid_ratio / ratio, ratio / grid_ratio)

        return max(grids(self.min_tiles, self.max_tiles), key=score)

    def cut(self, image: "Image") -> "list[Image]":
        """Return the tiles row by row, cut from the image resized to the grid."""
        columns, rows = self.grid(image.width, image.height)
        size = self.size
        resized = image.resize((columns * size, rows * size), resample=BICUBIC)
        corners = [(column * size, row * size) for row in range(rows) for column in range(columns)]
        tiles = [resized.crop((left, top, left + size, top + size)) for left, top in corners]
        if self.thumbnail and len(tiles) > 1:
            tiles.append(image.resize((size, size), resample=BICUBIC))
        return tiles


@lru_cache
def grids(min_tiles: int, max_tiles: int) -> tuple[tuple[int, int], ...]:
    """Return the possible numbers of columns and rows, ordered by the number of tiles.

    Grids with the same number of tiles are in the iteration order of a Python set, which decides ties as in training.
    """
    candidates = {
        (columns, rows)
        for limit in range(min_tiles, max_tiles + 1)
        for columns, rows in product(range(1, limit + 1), repeat=2)
        if min_tiles <= columns * rows <= max_tiles
    }
    return tuple(sorted(candidates, key=lambda grid: grid[0] * grid[1]))


def patches(tiles: "Sequence[Image]", patch_size: int) -> NDArray[np.float32]:
    """Return the patches of tiles, [num_tiles, num_patches, patch_size ** 2 * 3], with values from -1 to 1.

    Each patch is ordered by rows, columns and channels.
    """
    values = np.stack([np.asarray(tile, dtype=np.float32) for tile in tiles]) / np.float32(255)
    side = values.shape[1] // patch_size
    split = values.reshape(len(tiles), side, patch_size, side, patch_size, 3).transpose(0, 1, 3, 2, 4, 5)
    normalized: NDArray[np.float32] = (split.reshape(len(tiles), side * side, -1) - MEAN) / STD
    return normalized
