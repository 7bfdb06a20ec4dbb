"""What a checkpoint's files say of its images: preprocessor_config.json, or a part of processor_config.json."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.loading.files import read_object
from millpond.loading.repository import repository_of

if TYPE_CHECKING:
    from millpond.context import Context

OF_IMAGES, OF_ALL = "preprocessor_config.json", "processor_config.json"


def read_image_processor(ctx: "Context") -> tuple[Path, dict[str, Any]]:
    """The file that speaks of images, and what it says; of two, transformers takes that of the whole processor.

    Raises:
        CheckpointError: If a file is damaged.
    """
    folder = repository_of(ctx).transformer_path
    inner = read_object(folder / OF_ALL).get("image_processor")
    if isinstance(inner, dict) and inner:
        return folder / OF_ALL, inner
    return folder / OF_IMAGES, read_object(folder / OF_IMAGES)
