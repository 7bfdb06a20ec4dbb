"""The parts of a content, texts and images, as messages hold them and as queries and documents do."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from millpond.loading.tokenizer import Tokenizer
from millpond.pipeline.image_reader import ImageReader
from millpond.types.prompts import Content, ImagePart
from millpond_io.text.excerpts import head

IMAGES = ("image_url", "image_pil")  # types of parts
NO_IMAGE = "a part of the type image_url must hold one, such as {'url': ...} under image_url"
Parts = Sequence[str | ImagePart]


def read_part(part: object) -> str | ImagePart | None:
    """A part; None if it is neither a text nor an image. One that should hold an image and does not holds None."""
    if isinstance(part, str):
        return str(part)
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    held = part.get(kind) if isinstance(part, Mapping) and isinstance(kind, str) else None
    if kind == "text" and isinstance(held, str):
        return str(held)
    if kind not in IMAGES:
        return None
    return ImagePart(held.get("url") if isinstance(held, Mapping) else held)


def in_lines(texts: Iterable[str]) -> str:
    """Texts, a line each, without those that are empty."""
    return "\n".join(filter(None, texts))


def texts_of(parts: Parts) -> list[str]:
    """The texts among parts."""
    return [part for part in parts if isinstance(part, str)]


def images_of(parts: Parts) -> list[object]:
    """The images among parts."""
    return [part.image for part in parts if isinstance(part, ImagePart)]


def is_marked(parts: Parts, reader: ImageReader) -> bool:
    """Whether the texts hold a mark for each image already, as those of a caller may who knows the model."""
    marks = sum(len(reader.mark.findall(text)) for text in texts_of(parts))
    return 0 < marks == len(images_of(parts))


def marked(parts: Parts, reader: ImageReader | None) -> str:
    """Parts as one text, a line each, with something in it for each image; without a reader there is nothing for them.

    Args:
        parts: Texts and images.
        reader: What the model reads texts with images by; None for models that do not read both in one text.
    """
    if reader is None or is_marked(parts, reader):
        return in_lines(texts_of(parts))
    if reader.images_first:
        return reader.marked(in_lines(texts_of(parts)), len(images_of(parts)))
    numbers = count(1)
    return in_lines(part if isinstance(part, str) else reader.placeholder(next(numbers)) for part in parts)


def cut(tokenizer: Tokenizer, content: Content, num_tokens: int) -> tuple[Content, int]:
    """A content with the first so many tokens of its texts, and how many others these have at least; images stay."""
    if isinstance(content, str):
        return head(tokenizer, content, num_tokens) if _is_unicode(content) else (content, 0)
    kept: list[str | ImagePart] = []
    left, dropped = num_tokens, 0
    for part in content:
        if not isinstance(part, str) or not _is_unicode(part):  # what is none is refused by who reads it
            kept.append(part)
            continue
        text, more = head(tokenizer, part, left)
        kept.append(text)
        dropped += more
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=False)
        left = max(left - len(encoding.ids), 0)
    return tuple(kept), dropped


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which tokenizers fail on."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
