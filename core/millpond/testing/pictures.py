"""Random images for tests, as Pillow images, file contents and URLs."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Return an RGB image of random colours, the same in every run."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def file_of(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    """Return the content of an image file; the settings are those of Pillow for the file format."""
    content = io.BytesIO()
    image.save(content, format=kind, **settings)
    return content.getvalue()


def url_of(image: Image.Image) -> str:
    """Return an image as a lossless ``data:`` URL."""
    return f"data:image/png;base64,{base64.b64encode(file_of(image)).decode()}"
