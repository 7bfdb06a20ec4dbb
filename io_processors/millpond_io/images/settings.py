"""How a checkpoint wants its images: what preprocessor_config.json says, or what transformers takes by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from millpond.context import Context
from millpond.loading.repository import read_image_processor
from millpond.types.errors import CheckpointError

BILINEAR, BICUBIC = 2, 3  # as Pillow numbers its filters
FILTERS = range(6)
HALF = (0.5, 0.5, 0.5)
# What each class of transformers takes where the file says nothing; those whose steps are known.
KINDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
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
            "image_mean": HALF,
            "image_std": HALF,
        },
        "Siglip2": {
            "do_center_crop": False,
            "resample": BILINEAR,
            "image_mean": HALF,
            "image_std": HALF,
            "patch_size": 16,
            "max_num_patches": 256,
        },
    }
)
ENDINGS = ("FeatureExtractor", "ImageProcessorFast", "ImageProcessorPil", "ImageProcessor")
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """The steps from an image to the patches that a model reads.

    Attributes:
        edge: The length that the shorter side gets; None where the size is not decided by it.
        size: The height and width that the image gets; None where it is not resized to one size.
        crop: The height and width that are cut out of its middle; None for nothing.
        resample: The filter of resizing, as Pillow numbers them.
        scale: What the values 0 to 255 are multiplied with; None for nothing.
        mean: What is subtracted then, by channel; None for nothing.
        std: What the rest is divided by.
        patch_size: The rows, and the columns, of a patch.
        most_patches: The image keeps its shape, and gets the size of at most so many patches; None for one size.
        keeps_size: Whether an image of at most so many patches is not resized.
        grid: The rows and columns of patches that the model reads; None for any.
    """

    edge: int | None
    size: Size | None
    crop: Size | None
    resample: int
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...]
    patch_size: int
    most_patches: int | None
    keeps_size: bool
    grid: Size | None


def reads_images(ctx: Context) -> bool:
    """Whether the model reads images as sequences of patches, as CLIP and SigLIP do."""
    inputs, vision = ctx.model.multimodal, ctx.config.get("vision_config")
    if "image" not in inputs.modalities or inputs.image_reader is not None:
        return False
    return isinstance(vision, Mapping) and "patch_size" in vision


def read_settings(ctx: Context) -> ImageSettings:
    """The settings of a model that reads images.

    Raises:
        CheckpointError: If they are those of another kind of model, or do not fit it.
    """
    path, said = read_image_processor(ctx)
    vision = ctx.config["vision_config"]
    kind = _kind(said, path) or ("CLIP" if "projection_dim" in ctx.config else "Siglip")
    if kind == "Siglip" and "image_size" not in vision:
        kind = "Siglip2"
    given = {**KINDS[kind], **{key: value for key, value in said.items() if value is not None}}
    patch = vision["patch_size"]
    any_shape = kind == "Siglip2"
    if any_shape and given["patch_size"] != patch:
        message = f"{path}: patch_size {given['patch_size']!r}, and config.json has vision_config.patch_size {patch!r}"
        raise CheckpointError(message)
    resizes = given.get("do_resize", True)
    square = bool(given.get("default_to_square", False))
    edge, size = _size(given.get("size"), path, square=square) if resizes and not any_shape else (None, None)
    crop = _size(given.get("crop_size"), path) if given["do_center_crop"] else (None, None)
    side = None if any_shape else vision["image_size"] // patch
    return ImageSettings(
        edge=edge,
        size=size,
        crop=crop[1] or (None if crop[0] is None else (crop[0], crop[0])),
        resample=_checked(given["resample"], path),
        scale=float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else None,
        mean=_channels(given["image_mean"], path) if given.get("do_normalize", True) else None,
        std=_channels(given["image_std"], path),
        patch_size=patch,
        most_patches=given["max_num_patches"] if any_shape else None,
        keeps_size=not resizes,
        grid=None if side is None else (side, side),
    )


def _kind(said: Mapping[str, Any], path: Path) -> str | None:
    name = said.get("image_processor_type") or said.get("feature_extractor_type")
    if name is None:
        return None
    kind = next((str(name).removesuffix(ending) for ending in ENDINGS if str(name).endswith(ending)), str(name))
    if kind not in KINDS:
        known = ", ".join(f"{kind}ImageProcessor" for kind in KINDS)
        message = f"{path} names {name!r}, whose steps are not known here; known are {known}"
        raise CheckpointError(message)
    return kind


def _size(given: object, path: Path, *, square: bool = False) -> tuple[int | None, Size | None]:
    """The shorter side, or height and width; a bare number is the shorter side, or that of a square."""
    if isinstance(given, list | tuple) and len(given) == 2:  # noqa: PLR2004
        given = {"height": given[0], "width": given[1]}
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return (None, (given, given)) if square else (given, None)
    if isinstance(given, Mapping):
        edge, height, width = (given.get(key) for key in ("shortest_edge", "height", "width"))
        if isinstance(edge, int) and edge > 0 and given.get("longest_edge") is None:
            return edge, None
        if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
            return None, (height, width)
    message = f"{path}: a size must be a number, or have shortest_edge, or height and width; got {given!r}"
    raise CheckpointError(message)


def _channels(given: object, path: Path) -> tuple[float, ...]:
    values: list[Any] = list(given) if isinstance(given, list | tuple) else [given] * 3
    if len(values) == len(HALF) and all(isinstance(value, int | float) for value in values):
        return tuple(float(value) for value in values)
    message = f"{path}: image_mean and image_std must be three numbers each; got {given!r}"
    raise CheckpointError(message)


def _checked(resample: object, path: Path) -> int:
    if isinstance(resample, int) and resample in FILTERS:
        return resample
    message = f"{path}: resample {resample!r} is no filter of Pillow's, which are 0 to {FILTERS[-1]}"
    raise CheckpointError(message)
