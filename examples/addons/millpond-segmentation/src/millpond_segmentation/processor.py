"""The IO processor segmentation: an image of any size in, a mask with the class of each pixel out.

Items and results have the fields of vLLM's geospatial example: ``data``, ``data_format`` and ``out_data_format``.
"""

import base64
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from millpond import IOProcessor, PoolingParams
from millpond.context import ModelContext, TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from millpond_segmentation.images import read_image, write_mask
from millpond_segmentation.tiles import Floats, TileGrid

MAX_TILES = 1024
MAX_CLASSES = 256  # a mask has one byte per pixel
MAX_SHOWN_CHARS = 40
BASE64 = "b64_json"
FORMATS = {"data_format": (BASE64,), "out_data_format": (BASE64, "array")}


class SegmentationOptions(BaseModel):
    """Options of a call, passed as ``extra_kwargs``.

    Attributes:
        overlap: The minimum overlap of neighbouring tiles in pixels (default: ``tile_overlap`` in config.json).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap: Annotated[int, Field(ge=0, strict=True)] | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The mask of an image.

    Attributes:
        type: The form of ``data``: "b64_json" for base64, or "array".
        format: The format of the file in ``data``: "png", or "" for an array.
        data: The class of each pixel: a PNG with one channel, or an array of uint8, [height, width].
        pixels: The number of pixels of each class, by the names of the classes.
    """

    type: str
    format: str
    data: str | NDArray[np.uint8]
    pixels: dict[str, int]


@dataclass(eq=False, kw_only=True, slots=True)
class SegmentationJob(Job):
    """The sequences of an image, one per tile.

    Attributes:
        grid: The positions of the tiles.
        out_data_format: The form of the mask.
    """

    grid: TileGrid
    out_data_format: str


class SegmentationProcessor(IOProcessor[Segmentation]):
    """Cuts images in tiles, and merges the scores of the tiles to masks."""

    Options = SegmentationOptions

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        config = ctx.config
        self.tile_size, self.patch_size, self.overlap = config.tile_size, config.patch_size, config.tile_overlap
        self.side = self.tile_size // self.patch_size
        self.labels = [config.id2label[str(index)] for index in range(config.num_labels)]
        self.mean: Floats = np.array(config.image_mean, np.float32)
        self.std: Floats = np.array(config.image_std, np.float32)

    @classmethod
    def refusal(cls, ctx: ModelContext) -> str | None:
        """Refuse models that do not read tiles, or have too many classes."""
        if "tile_size" in ctx.config and ctx.config.num_labels <= MAX_CLASSES:
            return None
        return f"the IO processor 'segmentation' is for models that read tiles and have at most {MAX_CLASSES} classes"

    def complete(self, call: Call) -> Call:
        """Check the overlap, and request scores without an activation: the largest one decides."""
        overlap = self.overlap if call.options.overlap is None else call.options.overlap
        if overlap > self.tile_size // 2:
            message = f"overlap: {overlap} requested; the maximum is {self.tile_size // 2}, half of a tile"
            raise InvalidInputError(message, parameter="overlap")
        params = call.params.model_copy(update={"use_activation": False})
        return replace(call, params=params, options=SegmentationOptions(overlap=overlap))

    def encode(self, call: Call) -> list[Job]:
        """Return the job for each image."""
        return [self._job(data, call) for data in call.prompts]

    def decode(self, job: Job) -> Segmentation:
        """Return the mask of an image."""
        assert isinstance(job, SegmentationJob)
        scores = job.grid.merge(self._tile_scores(sequence) for sequence in job.sequences)
        mask = scores.argmax(axis=0).astype(np.uint8)
        counts = np.bincount(mask.ravel(), minlength=len(self.labels)).tolist()
        pixels = dict(zip(self.labels, counts, strict=True))
        if job.out_data_format == BASE64:
            return Segmentation(BASE64, "png", base64.b64encode(write_mask(mask)).decode(), pixels)
        return Segmentation(job.out_data_format, "", mask, pixels)

    def _job(self, data: Any, call: Call) -> Job:
        """Return one sequence per tile. The data comes from clients and is not trusted."""
        try:
            out_data_format = _check_fields(data)
            pixels = read_image(data["data"])
        except InvalidInputError as error:
            return Job(error=error)
        grid = TileGrid.of(*pixels.shape[:2], tile_size=self.tile_size, overlap=call.options.overlap)
        if grid.num_tiles > MAX_TILES:
            message = f"the image has {grid.num_tiles} tiles; the maximum is {MAX_TILES}. Reduce it, or its overlap"
            return Job(error=InvalidInputError(message, parameter="data"))
        image: Floats = (pixels.astype(np.float32) / np.float32(255) - self.mean) / self.std
        sequences = tuple(self._sequence(tile, call.params) for tile in grid.split(image))
        return SegmentationJob(sequences=sequences, grid=grid, out_data_format=out_data_format)

    def _sequence(self, tile: Floats, params: PoolingParams) -> PoolingRequest:
        """Return the sequence of a tile: one token per patch, row by row."""
        side, size = self.side, self.patch_size
        patches = tile.reshape(side, size, side, size, -1).transpose(0, 2, 4, 1, 3)  # channels first, like convolutions
        return PoolingRequest(
            input_ids=np.zeros(side**2, dtype=np.int64),
            representations=(Representation("plugin", params),),
            features={"pixels": patches.reshape(side**2, -1)},
            group="segmentation",
        )

    def _tile_scores(self, sequence: PoolingRequest) -> Floats:
        """Return the scores of the pixels of a tile, [num_classes, tile_size, tile_size]."""
        side, size = self.side, self.patch_size
        scores = sequence.results[0].reshape(side, side, -1, size, size).transpose(2, 0, 3, 1, 4)
        return scores.reshape(-1, self.tile_size, self.tile_size)


def _check_fields(item: Any) -> str:
    """Check the fields of an item; return the form of its mask.

    Raises:
        InvalidInputError: If a field is missing or unknown, or a format is not supported.
    """
    if not isinstance(item, dict) or "data" not in item:
        raise InvalidInputError('expected {"data": image}', parameter="data")
    for field in item.keys() - {"data", *FORMATS}:
        message = f"Unknown field {_shown(field)}. Available: data, {', '.join(FORMATS)}"
        raise InvalidInputError(message, parameter="data")
    for field, formats in FORMATS.items():
        value = item.get(field, BASE64)
        if not isinstance(value, str) or value not in formats:
            message = f"Unknown {field} {_shown(value)}. Available: {', '.join(formats)}"
            raise InvalidInputError(message, parameter=field)
    return str(item.get("out_data_format", BASE64))


def _shown(value: object) -> str:
    """Return a value for an error message; only texts, because others may be nested deeply."""
    return repr(value[:MAX_SHOWN_CHARS]) if isinstance(value, str) else f"of type {type(value).__name__}"
