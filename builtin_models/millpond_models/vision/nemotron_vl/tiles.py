"""From an image to square tiles of one size, as many as suit its shape, and one of the whole.

The grid is chosen as in Eagle 2 (Li et al., 2025, arXiv 2501.14818), and not as in InternVL: by how much of the image's
area the tiles hold, up to 60 %, times how near their shape is to its own.
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

ENOUGH = 0.6  # of the image's area: more pixels than that count no more
HALF = np.float32(0.5)  # mean and deviation of the values of a pixel, as SigLIP takes them
BICUBIC = 3  # Pillow's number


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How an image is cut.

    Attributes:
        size: The rows, and the columns, of pixels of a tile.
        fewest: The fewest tiles.
        most: The most tiles, without that of the whole.
        thumbnail: Whether the whole image, as one tile more, comes behind the others where there are several.
    """

    size: int
    fewest: int = 1
    most: int = 6
    thumbnail: bool = True

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """The columns and rows of tiles that an image of so many pixels becomes."""
        shape, area = width / height, width * height

        def suits(grid: tuple[int, int]) -> float:
            wanted = grid[0] / grid[1]
            covered = (grid[0] * grid[1] * self.size * self.size) / area
            return min(covered, ENOUGH) * min(wanted / shape, shape / wanted)

        return max(grids(self.fewest, self.most), key=suits)

    def cut(self, image: "Image") -> "list[Image]":
        """The tiles, row by row: the image is stretched to the grid."""
        columns, rows = self.grid(image.width, image.height)
        size = self.size
        stretched = image.resize((columns * size, rows * size), resample=BICUBIC)
        corners = [(column * size, row * size) for row in range(rows) for column in range(columns)]
        tiles = [stretched.crop((left, top, left + size, top + size)) for left, top in corners]
        if self.thumbnail and len(tiles) > 1:
            tiles.append(image.resize((size, size), resample=BICUBIC))
        return tiles


@lru_cache
def grids(fewest: int, most: int) -> tuple[tuple[int, int], ...]:
    """The columns and rows that may be chosen, those of fewer tiles first; of two that suit alike the first is taken.

    Of as many tiles they stand as Python enumerates the set of them, for models were trained with that order.
    """
    found = {
        (columns, rows)
        for longest in range(fewest, most + 1)
        for columns, rows in product(range(1, longest + 1), repeat=2)
        if fewest <= columns * rows <= most
    }
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))


def patches(tiles: "Sequence[Image]", patch_size: int) -> NDArray[np.float32]:
    """Tiles as patches, [num_tiles, num_patches, patch_size ** 2 * 3], each by rows, columns and channels, -1 to 1."""
    values = np.stack([np.asarray(tile, dtype=np.float32) for tile in tiles]) / np.float32(255)
    side = values.shape[1] // patch_size
    cut = values.reshape(len(tiles), side, patch_size, side, patch_size, 3).transpose(0, 1, 3, 2, 4, 5)
    found: NDArray[np.float32] = (cut.reshape(len(tiles), side * side, -1) - HALF) / HALF
    return found
