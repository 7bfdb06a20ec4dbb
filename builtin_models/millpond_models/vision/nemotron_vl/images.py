"""Image reader of LlamaNemotronVLModel: replaces ``<image>`` with the placeholder tokens of the image's tiles."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from millpond.context import Context
from millpond.model.files import read_object
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_modeling.images import ImageOption, ImageReader, TextWithImages
from millpond_models.vision.dual_encoder import PIXELS
from millpond_models.vision.image_rows import ROWS
from millpond_models.vision.nemotron_vl.specs import CHAT_TEMPLATE
from millpond_models.vision.nemotron_vl.tiles import Tiling, patches

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE, IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<image>", "<img>", "<IMG_CONTEXT>", "</img>"
PROCESSOR_CONFIG = "processor_config.json"
MAX_TILES = 256
# Options of requests: the fields of ``Tiling`` that they set.
FIELDS = {"min_input_tiles": "min_tiles", "max_input_tiles": "max_tiles", "use_thumbnail": "thumbnail"}


class TiledImages(ImageReader):
    """Cuts images into tiles and writes one placeholder token for each block of patches."""

    mark = re.compile(re.escape(IMAGE))
    chat_template: ClassVar[str | None] = CHAT_TEMPLATE
    images_first: ClassVar[bool] = True
    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"min_dynamic_patch": "min_input_tiles", "max_dynamic_patch": "max_input_tiles"}
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        self.context_id = int(config.img_context_token_id)
        self.patch_size = int(config.vision_config.patch_size)
        side = config.vision_config.image_size // self.patch_size
        self.tokens_per_tile = int(side * config.downsample_ratio) ** 2

    @property
    def reserved_ids(self) -> frozenset[int]:
        """The ID of the placeholder token."""
        return frozenset({self.context_id})

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """Minimum and maximum number of tiles, and whether a thumbnail follows several tiles."""
        return {name: ImageOption(getattr(self.tiling, field), MAX_TILES) for name, field in FIELDS.items()}

    def placeholder(self, number: int) -> str:
        """Return ``<image>``."""
        del number
        return IMAGE

    def marked(self, text: str, number: int) -> str:
        """Insert the placeholders, each followed by a space as in training, before the text and after the BOS token."""
        bos = "" if self.ctx.tokenizer is None else self.ctx.tokenizer.special_tokens.get("bos_token", "")
        begin = bos if text.startswith(bos) else ""
        return begin + f"{IMAGE} " * number + text.removeprefix(begin)

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """Return the tokens and features of a text with images.

        Raises:
            InvalidInputError: If the text contains the placeholder token itself.
        """
        fields: dict[str, Any] = {FIELDS[name]: value for name, value in options.items()}
        tiling = replace(self.tiling, **fields)
        tiles_by_image = [tiling.cut(image) for image in images]
        expanded = iter(
            f"{IMAGE_START}{IMAGE_CONTEXT * (self.tokens_per_tile * len(tiles))}{IMAGE_END}" for tiles in tiles_by_image
        )
        ids = self._token_ids(self.mark.sub(lambda _: next(expanded), text), add_special_tokens=add_special_tokens)
        all_tiles = [tile for tiles in tiles_by_image for tile in tiles]
        rows = np.flatnonzero(ids == self.context_id)
        if len(rows) != self.tokens_per_tile * len(all_tiles):
            message = f"the text contains {IMAGE_CONTEXT!r}, which is reserved for parts of images: remove it"
            raise InvalidInputError(message, parameter="prompts")
        return TextWithImages(input_ids=ids, features={ROWS: rows, PIXELS: patches(all_tiles, self.patch_size)})

    def _token_ids(self, text: str, *, add_special_tokens: bool) -> "np.ndarray[Any, np.dtype[np.int64]]":
        tokenizer = self.ctx.tokenizer
        known_id = None if tokenizer is None else tokenizer.backend.token_to_id(IMAGE_CONTEXT)
        if tokenizer is None or known_id != self.context_id:
            actual = f"no {IMAGE_CONTEXT}" if known_id is None else f"{IMAGE_CONTEXT} as {known_id}"
            message = (
                f"config.json has img_context_token_id {self.context_id}, but the tokenizer of "
                f"{self.ctx.model.model!r} has {actual}: they belong to different models"
            )
            raise CheckpointError(message)
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=add_special_tokens)
        return np.asarray(encoding.ids, dtype=np.int64)

    @cached_property
    def tiling(self) -> Tiling:
        """The tiling of processor_config.json, else of config.json; by default up to 6 tiles and a thumbnail.

        Raises:
            CheckpointError: If they request tiles that the vision encoder does not support.
        """
        settings, size = self._settings, self.ctx.config.vision_config.image_size
        tile_size = settings.get("image_size") or self.ctx.config.get("force_image_size") or size
        norm = settings.get("norm_type", "siglip")
        if tile_size != size or norm != "siglip":
            message = (
                f"{self.folder}: unsupported tiles of {tile_size} by {tile_size} pixels with norm_type {norm!r}: the "
                f"vision encoder reads {size} by {size} pixels with norm_type 'siglip'"
            )
            raise CheckpointError(message)
        max_tiles = max(1, int(settings["max_input_tiles"]))
        if not settings["dynamic_image_size"]:
            return Tiling(size=size, min_tiles=1, max_tiles=1, thumbnail=False)
        min_tiles = min(max(1, int(settings["min_input_tiles"])), max_tiles)
        return Tiling(size=size, min_tiles=min_tiles, max_tiles=max_tiles, thumbnail=bool(settings["use_thumbnail"]))

    @cached_property
    def folder(self) -> Path:
        """The folder of the checkpoint."""
        return self.ctx.repository.transformer_path

    @cached_property
    def _settings(self) -> Mapping[str, Any]:
        """The settings of processor_config.json; missing ones are read from config.json or have default values."""
        processor, config = read_object(self.folder / PROCESSOR_CONFIG), self.ctx.config

        def first(*names: str, default: object) -> object:
            values = (source.get(name) for source in (processor, config) for name in names)
            return next((value for value in values if value is not None), default)

        return {
            **processor,
            "min_input_tiles": first("min_input_tiles", "min_dynamic_patch", default=1),
            "max_input_tiles": first("max_input_tiles", "max_dynamic_patch", default=6),
            "use_thumbnail": first("use_thumbnail", default=True),
            "dynamic_image_size": first("dynamic_image_size", default=True),
        }
