"""Texts with images for a class of transformers, by the processor that transformers has for it.

Nothing of a checkpoint is run: classes are looked up in transformers alone, and files are read as data. Of the classes
for images those that stand on Pillow are taken, and none is built for videos.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from inspect import signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import transformers
from transformers import PreTrainedTokenizerFast

from millpond.context import Context
from millpond.loading.files import read_object
from millpond.loading.repository import read_image_processor, repository_of
from millpond.pipeline.image_reader import ImageReader, TextWithImages
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond.types.image_options import ImageOption
from millpond_transformers.classes import IMAGE_PROCESSORS, PROCESSORS, config_class, find_class
from millpond_transformers.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

INPUTS = "inputs"  # the feature under which a class finds its further arguments
OF_TEXT = ("input_ids", "attention_mask")
ENDINGS = ("FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil", "ImageProcessor")
EDGES = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}  # of a size, which are areas here
OTHERS = ("min_patches", "max_patches", "crop_to_patches", "do_image_splitting")
MOST_PIXELS, MOST_PATCHES = 2**26, 256
MOST_RESIZED = (
    2**25
)  # pixels; what is longer and thinner would take too much memory where the shorter side gets a length
GRIDS = "image_grid_thw"  # of images that a class finds by where their tokens begin and end
# What is written around the mark of an image, where a caller's text has none.
AROUND = {"<|image_pad|>": ("<|vision_start|>", "<|vision_end|>")}
# The name of what stands for an image in a text, where the processor writes all that is the image's in its place.
MARKS = {"gemma3": "boi_token"}
USUAL = frozenset(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


class ProcessorImages(ImageReader):
    """Reads texts with images by a processor of transformers, one prompt at a time."""

    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType({f"size.{edge}": name for name, edge in EDGES.items()})

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.folder = repository_of(ctx).transformer_path
        self.body_class = find_class(ctx.model.architecture)
        self.kind = config_class(self.body_class).model_type
        self.takes = frozenset(signature(self.body_class.forward).parameters)
        self.token = self._image_token()
        self.written = self._named_tokens().get(MARKS.get(self.kind, ""), self.token)
        self.mark = re.compile(re.escape(self.written))
        video = self._named_tokens().get("video_token") or self._token_of("video_token_id", "video_token_index")
        self.video = None if video in (self.token, self.written) else video

    @property
    def reserved_ids(self) -> frozenset[int]:
        """The token of an image."""
        tokenizer = self.ctx.tokenizer
        found = None if tokenizer is None else tokenizer.backend.token_to_id(self.token)
        return frozenset() if found is None else frozenset({found})

    def placeholder(self, number: int) -> str:
        """The token of an image, between those that begin and end one where the model has such."""
        del number
        before, behind = AROUND.get(self.written, ("", ""))
        return f"{before}{self.written}{behind}"

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """The tokens and features of a text, as the processor makes them.

        Raises:
            InvalidInputError: If it has what stands for a video, or for a part of an image; or if an image is too long
                and thin, or two stand with nothing between them where the class cannot tell them apart.
        """
        self._check_text(text)
        self.check_shapes(images)
        with quiet():
            made = self.processor(
                text=[text], images=list(images), add_special_tokens=add_special_tokens, **self.asked(options)
            )
        inputs = {name: np.asarray(value) for name, value in made.items() if name in self.takes - {*OF_TEXT}}
        ids = np.asarray(made["input_ids"][0], dtype=np.int64)
        if GRIDS in inputs:
            self._check_apart(ids, len(images))
        return TextWithImages(input_ids=ids, features={INPUTS: inputs})

    def check_shapes(self, images: "Sequence[Image]") -> None:
        """Refuse images that would become huge where the shorter side gets a length, and the other one follows.

        Raises:
            InvalidInputError: If one would.
        """
        size = self.processor.image_processor.size or {}
        edge: int = 0 if size.get("longest_edge") else size.get("shortest_edge") or 0
        for image in images:
            short, long = sorted((image.width, image.height))
            if edge * edge * long > MOST_RESIZED * short:
                message = (
                    f"the image is {image.width} by {image.height} pixels, and its shorter side would become {edge} on "
                    "its way to the model: it is too long and thin. Cut it"
                )
                raise InvalidInputError(message, parameter="multi_modal_data")

    def _check_text(self, text: str) -> None:
        """Refuse what stands for a video, or for a part of an image that the processor writes itself."""
        message = None
        if self.video is not None and self.video in text:
            message = f"the text has {self.video!r}, which stands for a video, and videos are not read: take it out"
        elif self.token != self.written and self.token in text:
            message = f"the text has {self.token!r}, which stands for a part of an image: take that out of the text"
        if message is not None:
            raise InvalidInputError(message, parameter="multi_modal_data")

    def _check_apart(self, ids: "NDArray[np.int64]", number: int) -> None:
        """Refuse fewer rows of image tokens than images: two that touch are one to the class."""
        seen = np.isin(ids, list(self.reserved_ids))
        if np.count_nonzero(seen[1:] & ~seen[:-1]) + int(seen[0]) < number:
            message = (
                "the text has two images with nothing between them, which the model cannot tell apart: write each as "
                f"{self.placeholder(1)!r}"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """Of the names that are known to be sizes those that the processor of images takes, as that is set."""
        images = self.processor.image_processor
        taken = frozenset(images.valid_kwargs.__annotations__)
        size = images.size or {}
        found = {
            name: ImageOption(size[edge], MOST_PIXELS)
            for name, edge in EDGES.items()
            if taken.issuperset(EDGES) and size.get(edge)
        }
        others = {name: getattr(images, name, None) for name in OTHERS if name in taken}
        return found | {name: ImageOption(value, MOST_PATCHES) for name, value in others.items() if value is not None}

    def asked(self, options: Mapping[str, int]) -> dict[str, Any]:
        """Options as arguments of the processor, which takes pixels as both edges of a size."""
        others = {name: value for name, value in options.items() if name not in EDGES}
        if len(others) == len(options):
            return others
        size = self.processor.image_processor.size
        return {**others, "size": {edge: options.get(name, size[edge]) for name, edge in EDGES.items()}}

    @cached_property
    def processor(self) -> Any:
        """The processor, built when the first image comes.

        Raises:
            CheckpointError: If it cannot be built of the files beside the model.
        """
        name = PROCESSORS[self.kind]
        try:
            parts = {"image_processor": self._image_processor(), "tokenizer": self._tokenizer()}
            base: Any = getattr(transformers, name)
            # What it is made of is checked by classes for videos, which cannot be imported without torchvision.
            unchecked = type(name, (base,), {"check_argument_for_proper_class": lambda _, __, argument: type(argument)})
            named = signature(base.__init__).parameters
            given = {**self._settings(), **parts, "video_processor": None}
            return unchecked(**{key: value for key, value in given.items() if key in named})
        except CheckpointError:
            raise
        except Exception as error:  # what a processor is made of is the library's business, and so is what it raises
            message = f"{self.folder}: transformers' {name} cannot be built: {type(error).__name__}: {error}"
            raise CheckpointError(message) from error

    def _settings(self) -> dict[str, Any]:
        """What processor_config.json says; where it says nothing, what follows from config.json."""
        config, vision = self.ctx.config, self.ctx.config.get("vision_config")
        vision = vision if isinstance(vision, CheckpointConfig) else {}
        strategy = config.get("vision_feature_select_strategy")
        known = {
            "patch_size": vision.get("patch_size"),
            "vision_feature_select_strategy": strategy,
            "num_additional_image_tokens": int(strategy == "default"),  # the token of the whole, which is left out
        }
        said = read_object(self.folder / "processor_config.json")
        return {**known, **{key: value for key, value in said.items() if value is not None}}

    def _image_processor(self) -> Any:
        _, said = read_image_processor(self.ctx)
        kind = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
        stem = next((kind.removesuffix(ending) for ending in ENDINGS if kind.endswith(ending)), None)
        names = [] if stem is None else [f"{stem}ImageProcessorPil"]
        names += [name for name in [IMAGE_PROCESSORS.get(self.kind, {}).get("pil")] if name]
        found: Any = next((there for name in names if (there := getattr(transformers, name, None))), None)
        if found is None:
            message = f"{self.folder}: transformers {transformers.__version__} has no {' nor '.join(names) or kind!r}"
            raise CheckpointError(message)
        return found(**{key: value for key, value in said.items() if key not in ("auto_map", "processor_class")})

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        tokenizer = self.ctx.tokenizer
        if tokenizer is None:
            message = f"{self.ctx.model.model!r} has no tokenizer, and a text with images needs one"
            raise CheckpointError(message)
        made: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer.backend, **tokenizer.special_tokens
        )
        for name, token in self._named_tokens().items():
            setattr(made, name, token)
            setattr(made, f"{name}_id", tokenizer.backend.token_to_id(token))
        return made

    def part(self) -> Mapping[str, Any]:
        """The part of config.json that says what stands for an image."""
        return self.ctx.config

    def _named_tokens(self) -> dict[str, str]:
        """Tokens that tokenizer_config.json names beside the usual ones, such as ``image_token``."""
        said = read_object(self.folder / "tokenizer_config.json")
        extra = said.get("extra_special_tokens")
        every = {**said, **(extra if isinstance(extra, Mapping) else {})}
        found = {name: every[name] for name in every if name.endswith("_token") and name not in USUAL}
        return {name: token for name, token in found.items() if isinstance(token, str)}

    def _image_token(self) -> str:
        """What stands for an image: as the tokenizer's files name it, as config.json does by its id, or as usual."""
        named = self._named_tokens().get("image_token")
        return named or self._token_of("image_token_id", "image_token_index") or "<image>"

    def _token_of(self, *keys: str) -> str | None:
        """The token whose id config.json has under one of the keys."""
        tokenizer, config = self.ctx.tokenizer, self.part()
        number = next((config[key] for key in keys if key in config), None)
        if tokenizer is None or not isinstance(number, int) or number < 0:  # LLaVA's first files have -200
            return None
        return tokenizer.backend.id_to_token(number)
