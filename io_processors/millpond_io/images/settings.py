"""Image preprocessing settings of a checkpoint, from preprocessor_config.json and the defaults of transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from millpond.context import Context
from millpond.types.errors import CheckpointError

BILINEAR, BICUBIC = 2, 3  # filters of Pillow
NUM_FILTERS = 6
HALF_PER_CHANNEL = (0.5, 0.5, 0.5)
# Default values of the supported image processor classes of transformers.
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "CLIP": {
            "size": {"shortest_edge": 224},
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
            "resample": BICUBIC,
            "image_mean": (0.48145466, 0.4578275, 0.40821073),
            "image_std": (0.26862954, 0.26130258, 0.27577711),
        },
        "Siglip": {
            "size": {"height": 224, "width": 224},
            "do_center_crop": False,
            "resample": BICUBIC,
            "image_mean": HALF_PER_CHANNEL,
            "image_std": HALF_PER_CHANNEL,
        },
        "Siglip2": {
            "do_center_crop": False,
            "do_convert_rgb": False,
            "resample": BILINEAR,
            "image_mean": HALF_PER_CHANNEL,
            "image_std": HALF_PER_CHANNEL,
            "patch_size": 16,
            "max_num_patches": 256,
        },
    }
)
CLASS_SUFFIXES = ("FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil", "ImageProcessor")
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """The conversion of an image to patches.

    Attributes:
        edge: The length of the shorter side after resizing; None if another setting determines the size.
        size: The height and width after resizing; None if another setting determines them.
        crop: The height and width of the centre crop; None for no crop.
        converts_rgb: True if transparent pixels of RGB images are put on a white background; other modes always are.
        resample: The resizing filter, as a number of Pillow.
        scale: The factor for values of 0 to 255; None for no scaling.
        mean: The mean of each channel, which is subtracted; None for no normalization.
        std: The standard deviation of each channel.
        patch_size: The height and width of a patch.
        max_patches: The maximum number of patches for images that keep their aspect ratio; None for a fixed size.
        keeps_size: True if images are not resized.
        grid: The numbers of rows and columns of patches that the model reads; None for any.
    """

    edge: int | None
    size: Size | None
    crop: Size | None
    converts_rgb: bool
    resample: int
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...]
    patch_size: int
    max_patches: int | None
    keeps_size: bool
    grid: Size | None


def reads_images(ctx: Context) -> bool:
    """Return True if the model reads images as sequences of patches, like CLIP and SigLIP."""
    inputs, vision = ctx.model.multimodal, ctx.config.get("vision_config")
    if "image" not in inputs.modalities or inputs.image_reader is not None:
        return False
    return isinstance(vision, Mapping) and "patch_size" in vision


def read_settings(ctx: Context) -> ImageSettings:
    """Return the preprocessing settings of a model that reads images.

    Raises:
        CheckpointError: If the image processor is not supported, or its settings do not match the model.
    """
    path, config = ctx.repository.reader.image_processor()
    vision = ctx.config["vision_config"]
    processor = _processor_name(config, path) or ("CLIP" if "projection_dim" in ctx.config else "Siglip")
    if processor == "Siglip" and "image_size" not in vision:
        processor = "Siglip2"
    # As in transformers, null disables a step.
    stated = {key: value for key, value in config.items() if value is not None or key.startswith("do_")}
    settings = {**DEFAULTS[processor], **stated}
    patch = vision["patch_size"]
    keeps_aspect_ratio = processor == "Siglip2"
    if keeps_aspect_ratio and settings["patch_size"] != patch:
        message = (
            f"{path}: patch_size is {settings['patch_size']!r}, but config.json has vision_config.patch_size {patch!r}"
        )
        raise CheckpointError(message)
    resizes = settings.get("do_resize", True)
    square = bool(settings.get("default_to_square", False))
    has_size = resizes and not keeps_aspect_ratio
    edge, size = _size(settings.get("size"), path, square=square) if has_size else (None, None)
    crop = _size(settings.get("crop_size"), path) if settings["do_center_crop"] else (None, None)
    side = None if keeps_aspect_ratio else vision["image_size"] // patch
    return ImageSettings(
        edge=edge,
        size=size,
        crop=crop[1] or (None if crop[0] is None else (crop[0], crop[0])),
        converts_rgb=bool(settings.get("do_convert_rgb", True)),
        resample=_filter(settings["resample"], path),
        scale=float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else None,
        mean=_per_channel(settings["image_mean"], path) if settings.get("do_normalize", True) else None,
        std=_per_channel(settings["image_std"], path),
        patch_size=patch,
        max_patches=settings["max_num_patches"] if keeps_aspect_ratio else None,
        keeps_size=not resizes,
        grid=None if side is None else (side, side),
    )


def _processor_name(config: Mapping[str, Any], path: Path) -> str | None:
    """Return the name of the image processor without its suffix; None if the file does not specify it."""
    name = config.get("image_processor_type") or config.get("feature_extractor_type")
    if name is None:
        return None
    suffix = next((suffix for suffix in CLASS_SUFFIXES if str(name).endswith(suffix)), "")
    processor = str(name).removesuffix(suffix)
    if processor not in DEFAULTS:
        supported = ", ".join(f"{processor}ImageProcessor" for processor in DEFAULTS)
        message = f"{path} specifies the unsupported image processor {name!r}. Supported: {supported}"
        raise CheckpointError(message)
    return processor


def _size(value: object, path: Path, *, square: bool = False) -> tuple[int | None, Size | None]:
    """Return the length of the shorter side, or height and width; a number is the former, or the side of a square."""
    if isinstance(value, list | tuple) and len(value) == 2:  # noqa: PLR2004
        value = {"height": value[0], "width": value[1]}
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return (None, (value, value)) if square else (value, None)
    if isinstance(value, Mapping):
        edge, height, width = (value.get(key) for key in ("shortest_edge", "height", "width"))
        if isinstance(edge, int) and edge > 0 and value.get("longest_edge") is None:
            return edge, None
        if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
            return None, (height, width)
    message = f"{path}: a size must be a number, or have shortest_edge, or height and width; got {value!r}"
    raise CheckpointError(message)


def _per_channel(value: object, path: Path) -> tuple[float, ...]:
    numbers: list[Any] = list(value) if isinstance(value, list | tuple) else [value] * 3
    if len(numbers) == len(HALF_PER_CHANNEL) and all(isinstance(number, int | float) for number in numbers):
        return tuple(float(number) for number in numbers)
    message = f"{path}: image_mean and image_std must be three numbers each; got {value!r}"
    raise CheckpointError(message)


def _filter(resample: object, path: Path) -> int:
    if isinstance(resample, int) and resample in range(NUM_FILTERS):
        return resample
    message = f"{path}: resample {resample!r} is not a filter of Pillow (0 to {NUM_FILTERS - 1})"
    raise CheckpointError(message)
