"""Image reader for model classes of transformers, based on the processor that transformers provides for them.

No code of a checkpoint is executed: classes are only looked up in transformers, and files are read as data. Image
processors are the Pillow variants, and video processors are not built.
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
from millpond.model.files import read_object
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_modeling.images import ImageOption, ImageReader, TextWithImages
from millpond_transformers.classes import IMAGE_PROCESSORS, PROCESSORS, config_class, find_class
from millpond_transformers.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

INPUTS = "inputs"  # the feature that contains the additional arguments of a class
TEXT_ARGUMENTS = ("input_ids", "attention_mask")
PROCESSOR_SUFFIXES = ("FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil", "ImageProcessor")
PIXEL_OPTIONS = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}  # keys of ``size``, which are areas here
OTHER_OPTIONS = ("min_patches", "max_patches", "crop_to_patches", "do_image_splitting")
MAX_PIXELS, MAX_PATCHES = 2**26, 256
# Processors that resize the shorter side need too much memory for long and thin images.
MAX_RESIZED_PIXELS = 2**25
IMAGE_GRIDS = "image_grid_thw"  # for classes that find images by the start and the end of their tokens
# Tokens written around the placeholder of an image that is not in the text.
SURROUNDING_TOKENS = {"<|image_pad|>": ("<|vision_start|>", "<|vision_end|>")}
# Names of placeholders that the processor replaces with all tokens of an image, by ``model_type``.
PLACEHOLDER_NAMES = {"gemma3": "boi_token"}
STANDARD_TOKEN_NAMES = frozenset(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


class ProcessorImages(ImageReader):
    """Reads texts with images by a processor of transformers, one prompt at a time."""

    synonyms: ClassVar[Mapping[str, str]] = MappingProxyType(
        {f"size.{edge}": name for name, edge in PIXEL_OPTIONS.items()}
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.folder = ctx.repository.transformer_path
        self.body_class = find_class(ctx.model.architecture)
        self.model_type = config_class(self.body_class).model_type
        self.arguments = frozenset(signature(self.body_class.forward).parameters)
        self.image_token = self._image_token()
        self.image_placeholder = self._named_tokens().get(PLACEHOLDER_NAMES.get(self.model_type, ""), self.image_token)
        self.mark = re.compile(re.escape(self.image_placeholder))
        video = self._named_tokens().get("video_token") or self._config_token("video_token_id", "video_token_index")
        self.video_token = None if video in (self.image_token, self.image_placeholder) else video

    @property
    def reserved_ids(self) -> frozenset[int]:
        """The ID of the image token."""
        tokenizer = self.ctx.tokenizer
        token_id = None if tokenizer is None else tokenizer.backend.token_to_id(self.image_token)
        return frozenset() if token_id is None else frozenset({token_id})

    def placeholder(self, number: int) -> str:
        """Return the placeholder of an image, with its start and end tokens if the model has them."""
        del number
        start, end = SURROUNDING_TOKENS.get(self.image_placeholder, ("", ""))
        return f"{start}{self.image_placeholder}{end}"

    def read(
        self, text: str, images: "Sequence[Image]", *, add_special_tokens: bool, options: Mapping[str, int]
    ) -> TextWithImages:
        """Return the tokens and features of a text, as computed by the processor.

        Raises:
            InvalidInputError: If the text contains a video or image token, an image is too long and thin, or adjacent
                images cannot be distinguished by the class.
        """
        self._check_text(text)
        self.check_shapes(images)
        with quiet():
            processed = self.processor(
                text=[text],
                images=list(images),
                add_special_tokens=add_special_tokens,
                **self.processor_arguments(options),
            )
        inputs = {
            name: np.asarray(value) for name, value in processed.items() if name in self.arguments - {*TEXT_ARGUMENTS}
        }
        ids = np.asarray(processed["input_ids"][0], dtype=np.int64)
        if IMAGE_GRIDS in inputs:
            self._check_separated(ids, len(images))
        return TextWithImages(input_ids=ids, features={INPUTS: inputs})

    def check_shapes(self, images: "Sequence[Image]") -> None:
        """Reject images that would become too large when the shorter side is resized.

        Raises:
            InvalidInputError: If an image is too long and thin.
        """
        size = self.processor.image_processor.size or {}
        edge: int = 0 if size.get("longest_edge") else size.get("shortest_edge") or 0
        for image in images:
            short, long = sorted((image.width, image.height))
            if edge * edge * long > MAX_RESIZED_PIXELS * short:
                message = (
                    f"the image of {image.width} by {image.height} pixels is too long and thin: its shorter side would "
                    f"be resized to {edge} pixels. Crop it"
                )
                raise InvalidInputError(message, parameter="multi_modal_data")

    def _check_text(self, text: str) -> None:
        """Reject video tokens, and image tokens that only the processor may write."""
        message = None
        if self.video_token is not None and self.video_token in text:
            message = f"the text contains the video token {self.video_token!r}: remove it; videos are not supported"
        elif self.image_token != self.image_placeholder and self.image_token in text:
            message = f"the text contains {self.image_token!r}, which is reserved for parts of images: remove it"
        if message is not None:
            raise InvalidInputError(message, parameter="multi_modal_data")

    def _check_separated(self, ids: "NDArray[np.int64]", number: int) -> None:
        """Reject adjacent images, which the class would read as one."""
        is_image = np.isin(ids, list(self.reserved_ids))
        if np.count_nonzero(is_image[1:] & ~is_image[:-1]) + int(is_image[0]) < number:
            message = (
                "the text contains adjacent images, which the model cannot distinguish: write each image as "
                f"{self.placeholder(1)!r}"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")

    @property
    def options(self) -> Mapping[str, ImageOption]:
        """The known options that the image processor supports, with their current values."""
        image_processor = self.processor.image_processor
        supported = frozenset(image_processor.valid_kwargs.__annotations__)
        size = image_processor.size or {}
        pixels = {
            name: ImageOption(size[edge], MAX_PIXELS)
            for name, edge in PIXEL_OPTIONS.items()
            if supported.issuperset(PIXEL_OPTIONS) and size.get(edge)
        }
        others = {name: getattr(image_processor, name, None) for name in OTHER_OPTIONS if name in supported}
        return pixels | {name: ImageOption(value, MAX_PATCHES) for name, value in others.items() if value is not None}

    def processor_arguments(self, options: Mapping[str, int]) -> dict[str, Any]:
        """Return options as arguments of the processor, which takes numbers of pixels as both edges of a size."""
        others = {name: value for name, value in options.items() if name not in PIXEL_OPTIONS}
        if len(others) == len(options):
            return others
        size = self.processor.image_processor.size
        return {**others, "size": {edge: options.get(name, size[edge]) for name, edge in PIXEL_OPTIONS.items()}}

    @cached_property
    def processor(self) -> Any:
        """The processor, built with the first image.

        Raises:
            CheckpointError: If the checkpoint's files do not allow building it.
        """
        name = PROCESSORS[self.model_type]
        try:
            parts = {"image_processor": self._image_processor(), "tokenizer": self._tokenizer()}
            base: Any = getattr(transformers, name)
            # The type check of its parts imports video classes, which require torchvision.
            unchecked = type(name, (base,), {"check_argument_for_proper_class": lambda _, __, argument: type(argument)})
            parameters = signature(base.__init__).parameters
            arguments = {**self._settings(), **parts, "video_processor": None}
            return unchecked(**{key: value for key, value in arguments.items() if key in parameters})
        except CheckpointError:
            raise
        except Exception as error:  # the library raises any type for invalid settings
            message = f"{self.folder}: transformers' {name} cannot be built: {type(error).__name__}: {error}"
            raise CheckpointError(message) from error

    def _settings(self) -> dict[str, Any]:
        """Return the settings of processor_config.json; missing ones are derived from config.json."""
        config, vision = self.ctx.config, self.ctx.config.get("vision_config")
        vision = vision if isinstance(vision, CheckpointConfig) else {}
        strategy = config.get("vision_feature_select_strategy")
        derived = {
            "patch_size": vision.get("patch_size"),
            "vision_feature_select_strategy": strategy,
            "num_additional_image_tokens": int(strategy == "default"),  # the class token, which is removed
        }
        stated = read_object(self.folder / "processor_config.json")
        return {**derived, **{key: value for key, value in stated.items() if value is not None}}

    def _image_processor(self) -> Any:
        _, settings = self.ctx.repository.reader.image_processor()
        class_name = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
        stem = next(
            (class_name.removesuffix(suffix) for suffix in PROCESSOR_SUFFIXES if class_name.endswith(suffix)), None
        )
        names = [] if stem is None else [f"{stem}ImageProcessorPil"]
        names += [name for name in [IMAGE_PROCESSORS.get(self.model_type, {}).get("pil")] if name]
        classes = (getattr(transformers, name, None) for name in names)
        processor_class: Any = next((candidate for candidate in classes if candidate), None)
        if processor_class is None:
            searched = " nor ".join(names) or repr(class_name)
            message = f"{self.folder}: transformers {transformers.__version__} has no {searched}"
            raise CheckpointError(message)
        arguments = {key: value for key, value in settings.items() if key not in ("auto_map", "processor_class")}
        return processor_class(**arguments)

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        tokenizer = self.ctx.tokenizer
        if tokenizer is None:
            message = f"{self.ctx.model.model!r} has no tokenizer, which texts with images require"
            raise CheckpointError(message)
        fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer.backend, **tokenizer.special_tokens
        )
        for name, token in self._named_tokens().items():
            setattr(fast, name, token)
            setattr(fast, f"{name}_id", tokenizer.backend.token_to_id(token))
        return fast

    def image_config(self) -> Mapping[str, Any]:
        """Return the part of config.json that contains the ID of the image token."""
        return self.ctx.config

    def _named_tokens(self) -> dict[str, str]:
        """Return the tokens that tokenizer_config.json names besides the standard ones, such as ``image_token``."""
        config = read_object(self.folder / "tokenizer_config.json")
        extra = config.get("extra_special_tokens")
        values = {**config, **(extra if isinstance(extra, Mapping) else {})}
        return {
            name: token
            for name, token in values.items()
            if name.endswith("_token") and name not in STANDARD_TOKEN_NAMES and isinstance(token, str)
        }

    def _image_token(self) -> str:
        """Return the image token, by its name in the tokenizer's files or its ID in config.json."""
        named = self._named_tokens().get("image_token")
        return named or self._config_token("image_token_id", "image_token_index") or "<image>"

    def _config_token(self, *keys: str) -> str | None:
        """Return the token whose ID config.json contains under one of the keys."""
        tokenizer, config = self.ctx.tokenizer, self.image_config()
        token_id = next((config[key] for key in keys if key in config), None)
        if tokenizer is None or not isinstance(token_id, int) or token_id < 0:  # -200 in LLaVA's first files
            return None
        return tokenizer.backend.id_to_token(token_id)
