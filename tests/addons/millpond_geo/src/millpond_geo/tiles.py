"""The IO processor "tiles": satellite tiles as arrays or base64 in, one PNG of the land cover per tile out."""

import base64
import binascii
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from millpond import IOProcessor, PoolingParams
from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError

Tile = NDArray[np.float32]
MAX_TILES = 256
DIMENSIONS = 3  # bands, rows, columns
ENCODED = {"b64", "shape"}


@dataclass(eq=False, kw_only=True, slots=True)
class TilesJob(Job):
    """The sequences of an item, one per tile.

    Attributes:
        grids: The numbers of rows and columns of patches of each tile.
    """

    grids: tuple[tuple[int, int], ...]


class TilesProcessor(IOProcessor[dict[str, Any]]):
    """Converts ``{"tiles": [...]}`` to ``{"masks": [...], "classes": [...]}``.

    A tile is an array [bands, height, width], or ``{"b64": ..., "shape": [bands, height, width]}`` with float32 in
    little-endian order. Its mask is a PNG [height, width] with the class of each pixel; ``classes`` contains the number
    of pixels of each class in all tiles of the item. Each tile is one sequence, with one token per patch.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.bands, self.patch = ctx.config.num_bands, ctx.config.patch_size
        self.classes, self.max_side = ctx.config.num_classes, ctx.config.max_patches * self.patch

    @classmethod
    def refusal(cls, ctx: Context) -> str | None:
        """Refuse all models except segmenters of tiles."""
        if "num_bands" in ctx.config:
            return None
        return f"the IO processor 'tiles' is for models of satellite tiles; {ctx.model.model!r} has no 'num_bands'"

    def complete(self, call: Call) -> Call:
        """Request scores without an activation: a mask needs no probabilities."""
        params = call.params.model_copy(update={"task": "plugin", "use_activation": False})
        return replace(call, params=params)

    def encode(self, call: Call) -> list[Job]:
        """Return the job for each item, with one sequence per tile."""
        jobs: list[Job] = []
        for data in call.prompts:
            try:
                tiles = self._tiles(data)
            except InvalidInputError as error:
                jobs.append(Job(error=error))
                continue
            sequences = tuple(self._sequence(tile, call.params) for tile in tiles)
            jobs.append(TilesJob(sequences=sequences, grids=tuple(map(self._grid, tiles))))
        return jobs

    def decode(self, job: Job) -> dict[str, Any]:
        """Return a mask for each tile."""
        assert isinstance(job, TilesJob)
        masks = [self._mask(sequence, grid) for sequence, grid in zip(job.sequences, job.grids, strict=True)]
        counts = np.zeros(self.classes, dtype=np.int64)
        for mask in masks:
            counts += np.bincount(mask.ravel(), minlength=self.classes)
        return {"masks": [_png(mask) for mask in masks], "classes": counts.tolist()}

    def _tiles(self, data: object) -> list[Tile]:
        if not isinstance(data, Mapping) or set(data) != {"tiles"}:
            raise InvalidInputError('expected {"tiles": [...]} and nothing else', parameter="data")
        tiles = data["tiles"]
        if not isinstance(tiles, list | tuple) or len(tiles) > MAX_TILES:
            raise InvalidInputError(f"'tiles' must be a list of at most {MAX_TILES} tiles", parameter="tiles")
        return [self._read(index, tile) for index, tile in enumerate(tiles)]

    def _grid(self, tile: Tile) -> tuple[int, int]:
        return tile.shape[1] // self.patch, tile.shape[2] // self.patch

    def _read(self, index: int, tile: object) -> Tile:
        array = _decoded(index, tile) if isinstance(tile, Mapping) else tile
        if not isinstance(array, np.ndarray) or array.ndim != DIMENSIONS or array.dtype.kind not in "fiu":
            raise _error(index, "must be an array of numbers [bands, height, width]")
        bands, height, width = array.shape
        if bands != self.bands:
            raise _error(index, f"has {bands} bands, and the model reads {self.bands}")
        for side in (height, width):
            if not 0 < side <= self.max_side or side % self.patch:
                allowed = f"a multiple of {self.patch}, at most {self.max_side}"
                raise _error(index, f"is {height} by {width} pixels: each side must be {allowed}")
        values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise _error(index, "contains values that are not finite in float32")
        return values

    def _sequence(self, tile: Tile, params: PoolingParams) -> PoolingRequest:
        size = self.patch
        bands = tile.shape[0]
        rows, columns = self._grid(tile)
        patches = tile.reshape(bands, rows, size, columns, size).transpose(1, 3, 0, 2, 4)
        positions = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
        return PoolingRequest(
            input_ids=np.zeros(rows * columns, dtype=np.int64),
            representations=(Representation("plugin", params),),
            features={"pixels": patches.reshape(rows * columns, -1), "positions": positions.reshape(-1, 2)},
            group="tiles",
        )

    def _mask(self, sequence: PoolingRequest, grid: tuple[int, int]) -> NDArray[np.uint8]:
        rows, columns = grid
        scores = sequence.results[0].reshape(rows, columns, self.classes, self.patch, self.patch)
        classes = scores.argmax(axis=2).transpose(0, 2, 1, 3)
        mask: NDArray[np.uint8] = classes.reshape(rows * self.patch, columns * self.patch).astype(np.uint8)
        return mask


def _decoded(index: int, tile: Mapping[Any, object]) -> Tile:
    text, shape = tile.get("b64"), tile.get("shape")
    if set(tile) != ENCODED or not isinstance(text, str | bytes) or not isinstance(shape, list | tuple):
        raise _error(index, 'must be {"b64": ..., "shape": [bands, height, width]}')
    if len(shape) != DIMENSIONS or not all(type(side) is int and side > 0 for side in shape):
        raise _error(index, "has a shape that is not [bands, height, width]")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _error(index, f"is not base64: {error}") from error
    if len(content) != math.prod(shape) * 4:
        raise _error(index, f"has {len(content)} bytes, but {list(shape)} in float32 requires {math.prod(shape) * 4}")
    return np.frombuffer(content, dtype="<f4").reshape(shape)


def _png(mask: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(mask).save(content, format="PNG")
    return content.getvalue()


def _error(index: int, problem: str) -> InvalidInputError:
    return InvalidInputError(f"tile {index} {problem}", parameter="tiles")
