"""TileGrid: cuts an image in tiles of one size that overlap, and merges the scores of the tiles."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """The positions of the tiles of an image.

    Attributes:
        height: The height of the image in pixels.
        width: The width of the image in pixels.
        tile_size: The height and width of a tile.
        rows: The first pixel of each row of tiles.
        columns: The first pixel of each column of tiles.
    """

    height: int
    width: int
    tile_size: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int, *, tile_size: int, overlap: int) -> "TileGrid":
        """Return the tiles of an image.

        Args:
            height: The height of the image in pixels.
            width: The width of the image in pixels.
            tile_size: The height and width of a tile.
            overlap: The minimum overlap of neighbours in pixels; the last tile of a row or column ends with the image.
        """
        rows, columns = (_starts(length, tile_size, tile_size - overlap) for length in (height, width))
        return cls(height=height, width=width, tile_size=tile_size, rows=rows, columns=columns)

    @property
    def num_tiles(self) -> int:
        """The number of tiles."""
        return len(self.rows) * len(self.columns)

    def split(self, image: Floats) -> Iterator[Floats]:
        """Yield the tiles of an image, row by row; the last pixels of an image that is too small are repeated.

        Args:
            image: The image, [height, width, channels].

        Yields:
            Tiles, [tile_size, tile_size, channels].
        """
        missing = [(0, max(self.tile_size - length, 0)) for length in (self.height, self.width)]
        padded = np.pad(image, [*missing, (0, 0)], mode="edge")
        for row, column in self._starts_of_tiles():
            yield padded[row : row + self.tile_size, column : column + self.tile_size]

    def merge(self, tiles: Iterable[Floats]) -> Floats:
        """Return the mean of the scores where tiles overlap, [num_classes, height, width].

        Args:
            tiles: The scores of the tiles, row by row, [num_classes, tile_size, tile_size].
        """
        size = self.tile_size
        height, width = max(self.height, size), max(self.width, size)
        total, counts = np.zeros((1, height, width), np.float32), np.zeros((height, width), np.float32)
        for (row, column), scores in zip(self._starts_of_tiles(), tiles, strict=True):
            if len(total) != len(scores):
                total = np.zeros((len(scores), height, width), np.float32)
            total[:, row : row + size, column : column + size] += scores
            counts[row : row + size, column : column + size] += 1
        return (total / counts)[:, : self.height, : self.width]

    def _starts_of_tiles(self) -> Iterator[tuple[int, int]]:
        return ((row, column) for row in self.rows for column in self.columns)


def _starts(length: int, size: int, step: int) -> tuple[int, ...]:
    """Return the first pixel of each tile along a side."""
    last = max(length - size, 0)
    return (*range(0, last, step), last)
