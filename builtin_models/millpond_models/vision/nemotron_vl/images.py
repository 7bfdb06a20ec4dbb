"""How LlamaNemotronVLModel reads images in texts: ``<image>`` becomes as many tokens as the tiles of the image need."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from millpond.context import Context
from millpond.loading.files import read_object
from millpond.loading.repository import repository_of
from millpond.pipeline.image_reader import ImageReader, TextWithImages
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond.types.image_options import ImageOption
from millpond_models.vision.dual_encoder import PIXELS
from millpond_models.vision.image_rows import ROWS
from millpond_models.vision.nemotron_vl.specs import MESSAGES
from millpond_models.vision.nemotron_vl.tiles import Tiling, patches

if TYPE_CHECKING:
    from PIL.Image import Image

MARK, START, PART, END = "<image>", "<img>", "<IMG_CONTEXT>", "</img>"
PROCESSOR = "processor_config.json"
MOST_TILES = 256
FIELDS = {"min_input_tiles": "fewest", "max_input_tiles": "most", "use_thumbnail": "thumbnail"}  # of options


class TiledImages(ImageReader):
    """Cuts images into tiles, and writes a token for each block of their patches."""

    mark = re.compile(re.escape(MARK))
    chat_template: ClassVar[str | None] = MESSAGES
    images_first: ClassVar[bool] = True
    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"min_dynamic_patch": "min_input_tiles", "max_dynamic_patch": "max_input_tiles"}
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        self.part_id = int(config.img_context_token_id)
        self.patch_size = int(config.vision_config.patch_size)
        side = config.vision_config.image_size // self.patch_size
        self.parts_of_tile = int(side * config.downsample_ratio) ** 2

    @property
    def reserved_ids(self) -> frozenset[int]:
        """The token of a part of an image."""
        return frozenset({self.part_id})

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """The fewest and the most tiles of an image, and whether the whole comes behind several."""
        return {name: ImageOption(getattr(self.tiling, field), MOST_TILES) for name, field in FIELDS.items()}

    def placeholder(self, number: int) -> str:
        """``<image>``."""
        del number
        return MARK

    def marked(self, text: str, number: int) -> str:
        """Before the text, but behind the token that begins it, each with a blank behind it, as it was trained."""
        bos = "" if self.ctx.tokenizer is None else self.ctx.tokenizer.special_tokens.get("bos_token", "")
        begin = bos if text.startswith(bos) else ""
        return begin + f"{MARK} " * number + text.removeprefix(begin)

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """The tokens and features of a text.

        Raises:
            InvalidInputError: If the text itself holds what stands for a part of an image.
        """
        chosen: dict[str, Any] = {FIELDS[name]: value for name, value in options.items()}
        tiling = replace(self.tiling, **chosen)
        tiles = [tiling.cut(image) for image in images]
        written = iter([f"{START}{PART * (self.parts_of_tile * len(each))}{END}" for each in tiles])
        ids = self._ids(self.mark.sub(lambda _: next(written), text), add_special_tokens=add_special_tokens)
        every = [tile for each in tiles for tile in each]
        places = np.flatnonzero(ids == self.part_id)
        if len(places) != self.parts_of_tile * len(every):
            message = f"the text holds {PART!r}, which stands for a part of an image: take that out of the text"
            raise InvalidInputError(message, parameter="prompts")
        return TextWithImages(input_ids=ids, features={ROWS: places, PIXELS: patches(every, self.patch_size)})

    def _ids(self, text: str, *, add_special_tokens: bool) -> "np.ndarray[Any, np.dtype[np.int64]]":
        tokenizer = self.ctx.tokenizer
        known = None if tokenizer is None else tokenizer.backend.token_to_id(PART)
        if tokenizer is None or known != self.part_id:
            message = (
                f"config.json has img_context_token_id {self.part_id}, and the tokenizer of {self.ctx.model.model!r} "
                f"has {'no ' + PART if known is None else f'{PART} as {known}'}: they are not of one model"
            )
            raise CheckpointError(message)
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=add_special_tokens)
        return np.asarray(encoding.ids, dtype=np.int64)

    @cached_property
    def tiling(self) -> Tiling:
        """How images are cut: processor_config.json says, else config.json, else 6 tiles at most and the whole.

        Raises:
            CheckpointError: If they ask for tiles that the tower of images does not read.
        """
        said, size = self._said, self.ctx.config.vision_config.image_size
        asked = said.get("image_size") or self.ctx.config.get("force_image_size") or size
        norm = said.get("norm_type", "siglip")
        if asked != size or norm != "siglip":
            message = (
                f"{self.folder}: tiles of {asked} by {asked} pixels with the norm {norm!r} are asked for, and "
                f"the tower of images reads {size} by {size} with that of 'siglip'"
            )
            raise CheckpointError(message)
        most = max(1, int(said["most"]))
        if not said["dynamic_image_size"]:
            return Tiling(size=size, fewest=1, most=1, thumbnail=False)
        fewest = min(max(1, int(said["fewest"])), most)
        return Tiling(size=size, fewest=fewest, most=most, thumbnail=bool(said["use_thumbnail"]))

    @cached_property
    def folder(self) -> Path:
        """The folder of the checkpoint."""
        return repository_of(self.ctx).transformer_path

    @cached_property
    def _said(self) -> Mapping[str, Any]:
        """The settings, by the names of the processor's, and the numbers of tiles under names of their own."""
        own, config = read_object(self.folder / PROCESSOR), self.ctx.config

        def first(*names: str, default: object) -> object:
            return next((said[name] for said in (own, config) for name in names if said.get(name) is not None), default)

        return {
            **own,
            "fewest": first("min_input_tiles", "min_dynamic_patch", default=1),
            "most": first("max_input_tiles", "max_dynamic_patch", default=6),
            "use_thumbnail": first("use_thumbnail", default=True),
            "dynamic_image_size": first("dynamic_image_size", default=True),
        }
