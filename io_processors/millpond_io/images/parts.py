"""Parts of contents: the texts and images of messages, queries and documents."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from millpond.model.tokenizer import Tokenizer
from millpond.types.prompts import Content, ImagePart
from millpond_io.text.excerpts import head
from millpond_modeling.images import ImageReader

IMAGE_TYPES = ("image_url", "image_pil")
NO_IMAGE = "a part of type image_url requires an image, such as 'image_url': {'url': ...}"
Parts = Sequence[str | ImagePart]


def read_part(part: object) -> str | ImagePart | None:
    """Return a part; None if it is neither a text nor an image. An image part without an image contains None."""
    if isinstance(part, str):
        return str(part)
    part_type = part.get("type", "text") if isinstance(part, Mapping) else None
    value = part.get(part_type) if isinstance(part, Mapping) and isinstance(part_type, str) else None
    if part_type == "text" and isinstance(value, str):
        return str(value)
    if part_type not in IMAGE_TYPES:
        return None
    return ImagePart(value.get("url") if isinstance(value, Mapping) else value)


def in_lines(texts: Iterable[str]) -> str:
    """Join texts with line breaks, without empty texts."""
    return "\n".join(filter(None, texts))


def texts_of(parts: Parts) -> list[str]:
    """Return the texts of a content."""
    return [part for part in parts if isinstance(part, str)]


def images_of(parts: Parts) -> list[object]:
    """Return the images of a content."""
    return [part.image for part in parts if isinstance(part, ImagePart)]


def part_records(parts: Parts, *, with_images: bool = True) -> list[dict[str, str]]:
    """Return parts in the format that templates read."""
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in parts
        if isinstance(part, str) or with_images
    ]


def has_placeholders(parts: Parts, reader: ImageReader) -> bool:
    """Return True if the texts already contain one placeholder per image."""
    num_placeholders = sum(len(reader.mark.findall(text)) for text in texts_of(parts))
    return 0 < num_placeholders == len(images_of(parts))


def with_placeholders(parts: Parts, reader: ImageReader | None) -> str:
    """Return the content as one text, one line per part, with a placeholder for each image.

    Args:
        parts: Texts and images.
        reader: The image reader of the model; None for models without images in texts, which get no placeholders.
    """
    if reader is None or has_placeholders(parts, reader):
        return in_lines(texts_of(parts))
    if reader.images_first:
        return reader.marked(in_lines(texts_of(parts)), len(images_of(parts)))
    numbers = count(1)
    return in_lines(part if isinstance(part, str) else reader.placeholder(next(numbers)) for part in parts)


def truncate(tokenizer: Tokenizer, content: Content, num_tokens: int) -> tuple[Content, int]:
    """Return the content with the first ``num_tokens`` tokens of its texts, and all images.

    The second item is the number of removed tokens; for long texts, a lower bound.
    """
    if isinstance(content, str):
        return head(tokenizer, content, num_tokens) if _is_unicode(content) else (content, 0)
    kept: list[str | ImagePart] = []
    remaining, dropped = num_tokens, 0
    for part in content:
        if not isinstance(part, str) or not _is_unicode(part):  # invalid texts are reported when they are tokenized
            kept.append(part)
            continue
        text, num_dropped = head(tokenizer, part, remaining)
        kept.append(text)
        dropped += num_dropped
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=False)
        remaining = max(remaining - len(encoding.ids), 0)
    return tuple(kept), dropped


def _is_unicode(text: str) -> bool:
    """Return True if a text has no lone surrogates, which tokenizers fail on."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
