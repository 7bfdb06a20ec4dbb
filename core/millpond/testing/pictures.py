"""Random pictures, and the forms that requests have them in, for tests of what reads images."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture of random colours, in RGB; the same at every run."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def file_of(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    """The content of a file of an image, with the settings that Pillow has for files of its kind."""
    content = io.BytesIO()
    image.save(content, format=kind, **settings)
    return content.getvalue()


def url_of(image: Image.Image) -> str:
    """An image as a ``data:`` URL, without loss."""
    return f"data:image/png;base64,{base64.b64encode(file_of(image)).decode()}"
