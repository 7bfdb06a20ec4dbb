"""The IO processor "tiles": satellite tiles as arrays or base64, and a PNG of each one's land cover."""

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from millpond import IOProcessor, PoolingParams
from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.types.errors import InvalidInputError

Tile = NDArray[np.float32]
MOST_TILES = 256
DIMENSIONS = 3  # bands, rows, columns
ENCODED = {"b64", "shape"}


class TilesProcessor(IOProcessor[list[Tile], dict[str, Any]]):
    """``{"tiles": [...]}`` to ``{"masks": [...], "classes": [...]}``.

    A tile is an array [bands, height, width], or ``{"b64": ..., "shape": [bands, height, width]}`` with float32 in
    little-endian order. Its mask is a PNG [height, width] with the class of each pixel; ``classes`` are the pixels of
    each class, over all tiles of the item. Each tile is a request of its own, with a token a patch.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.bands, self.patch = ctx.config.num_bands, ctx.config.patch_size
        self.classes, self.longest = ctx.config.num_classes, ctx.config.max_patches * self.patch

    @classmethod
    def refusal(cls, ctx: Context) -> str | None:
        """It serves segmenters of tiles alone."""
        if "num_bands" in ctx.config:
            return None
        return f"the IO processor 'tiles' is for models of satellite tiles; {ctx.model.model!r} has no 'num_bands'"

    def parse(self, data: object) -> list[Tile]:
        """Check one item."""
        if not isinstance(data, Mapping) or set(data) != {"tiles"}:
            raise InvalidInputError('expected {"tiles": [...]} and nothing else', parameter="data")
        tiles = data["tiles"]
        if not isinstance(tiles, list | tuple) or len(tiles) > MOST_TILES:
            raise InvalidInputError(f"'tiles' must be a list of at most {MOST_TILES} tiles", parameter="tiles")
        return [self._read(place, tile) for place, tile in enumerate(tiles)]

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """The scores as they are: a mask needs no probabilities."""
        return (given or PoolingParams()).model_copy(update={"task": "plugin", "use_activation": False})

    def pre_process(self, data: list[Tile], params: PoolingParams) -> list[PoolingRequest]:
        """A request for each tile."""
        return [self._request(tile, params) for tile in data]

    def post_process(self, requests: Sequence[PoolingRequest]) -> dict[str, Any]:
        """A mask for each tile."""
        masks = [self._mask(request) for request in requests]
        counts = np.zeros(self.classes, dtype=np.int64)
        for mask in masks:
            counts += np.bincount(mask.ravel(), minlength=self.classes)
        return {"masks": [_png(mask) for mask in masks], "classes": counts.tolist()}

    def _read(self, place: int, tile: object) -> Tile:
        array = _decoded(place, tile) if isinstance(tile, Mapping) else tile
        if not isinstance(array, np.ndarray) or array.ndim != DIMENSIONS or array.dtype.kind not in "fiu":
            raise _fault(place, "must be an array of numbers [bands, height, width]")
        bands, height, width = array.shape
        if bands != self.bands:
            raise _fault(place, f"has {bands} bands, and the model reads {self.bands}")
        for side in (height, width):
            if not 0 < side <= self.longest or side % self.patch:
                allowed = f"a multiple of {self.patch}, at most {self.longest}"
                raise _fault(place, f"is {height} by {width} pixels: each side must be {allowed}")
        values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise _fault(place, "holds values that are not finite in float32")
        return values

    def _request(self, tile: Tile, params: PoolingParams) -> PoolingRequest:
        size = self.patch
        bands, height, width = tile.shape
        rows, columns = height // size, width // size
        patches = tile.reshape(bands, rows, size, columns, size).transpose(1, 3, 0, 2, 4)
        places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1)
        return PoolingRequest(
            input_ids=np.zeros(rows * columns, dtype=np.int64),
            representations=(Representation("plugin", params),),
            features={"pixels": patches.reshape(rows * columns, -1), "places": places.reshape(-1, 2)},
            group="tiles",
            note=(rows, columns),
        )

    def _mask(self, request: PoolingRequest) -> NDArray[np.uint8]:
        rows, columns = request.note if isinstance(request.note, tuple) else (0, 0)
        scores = request.results[0].reshape(rows, columns, self.classes, self.patch, self.patch)
        classes = scores.argmax(axis=2).transpose(0, 2, 1, 3)
        mask: NDArray[np.uint8] = classes.reshape(rows * self.patch, columns * self.patch).astype(np.uint8)
        return mask


def _decoded(place: int, tile: Mapping[Any, object]) -> Tile:
    text, shape = tile.get("b64"), tile.get("shape")
    if set(tile) != ENCODED or not isinstance(text, str | bytes) or not isinstance(shape, list | tuple):
        raise _fault(place, 'must be {"b64": ..., "shape": [bands, height, width]}')
    if len(shape) != DIMENSIONS or not all(type(side) is int and side > 0 for side in shape):
        raise _fault(place, "has a shape that is not [bands, height, width]")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _fault(place, f"is no base64: {error}") from error
    if len(content) != math.prod(shape) * 4:
        raise _fault(place, f"holds {len(content)} bytes, where {list(shape)} of float32 are {math.prod(shape) * 4}")
    return np.frombuffer(content, dtype="<f4").reshape(shape)


def _png(mask: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(mask).save(content, format="PNG")
    return content.getvalue()


def _fault(place: int, what: str) -> InvalidInputError:
    return InvalidInputError(f"tile {place} {what}", parameter="tiles")
