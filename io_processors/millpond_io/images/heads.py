"""How many parts an image's file has before its pixels: decoders go through them one by one, at some microseconds each.

A few megabytes may hold millions of them, which keep a processor busy for seconds, though the image is of a few pixels.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

PNG_HEAD, PNG_CHUNK = 8, 12  # bytes before the first chunk; of a chunk, without what it holds
GIF_HEAD, GIF_TABLE = 13, 0x80
EXTENSION, FRAME, END = 0x21, 0x2C, 0x3B
FILL, SCAN = 0xFF, 0xDA
ALONE = frozenset((0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))  # markers of JPEG that Pillow takes for no more


def has_more_parts(content: bytes, most: int) -> bool:
    """Whether a PNG has more chunks, or a JPEG or GIF more segments, blocks and stray bytes before its pixels."""
    count = next((count for start, count in COUNTS.items() if content.startswith(start)), None)
    return count is not None and count(content, most) > most


def _of_png(content: bytes, most: int) -> int:
    place, parts = PNG_HEAD, 0
    while place + PNG_CHUNK <= len(content) and parts <= most:
        place += PNG_CHUNK + int.from_bytes(content[place : place + 4], "big")
        parts += 1
    return parts


def _of_jpeg(content: bytes, most: int) -> int:
    place, parts = 2, 0
    while place + 1 < len(content) and parts <= most:
        marker = content[place + 1]
        if content[place] != FILL:
            found = content.find(FILL, place)
            parts += (found if found >= 0 else len(content)) - place
            place = found if found >= 0 else len(content)
            continue
        if marker == SCAN:
            break
        parts += 1
        if marker == FILL:
            place += 1
        elif marker in ALONE or marker == 0:
            place += 2
        else:
            place += 2 + max(int.from_bytes(content[place + 2 : place + 4], "big"), 2)
    return parts


def _of_gif(content: bytes, most: int) -> int:
    flags = content[10] if len(content) > GIF_HEAD else 0
    place, parts = GIF_HEAD + (3 << ((flags & 7) + 1) if flags & GIF_TABLE else 0), 0
    while place < len(content) and parts <= most:
        kind = content[place]
        if kind in (FRAME, END):
            break
        parts += 1
        place += 1
        if kind != EXTENSION:
            continue
        place += 1
        while place < len(content) and parts <= most and (size := content[place]):
            place += 1 + size
            parts += 1
        place += 1
    return parts


COUNTS: Mapping[bytes, Callable[[bytes, int], int]] = MappingProxyType(
    {b"\x89PNG\r\n\x1a\n": _of_png, b"\xff\xd8": _of_jpeg, b"GIF87a": _of_gif, b"GIF89a": _of_gif}
)
