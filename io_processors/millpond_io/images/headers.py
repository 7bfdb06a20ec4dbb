"""Number of parts in an image file before its pixels: decoders need some microseconds for each.

A file of a few megabytes can contain millions of parts, which take seconds to read even if the image is tiny.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

PNG_SIGNATURE_BYTES = 8
PNG_CHUNK_BYTES = 12  # without the data of the chunk
GIF_HEADER_BYTES = 13
GIF_HAS_COLOR_TABLE = 0x80
GIF_EXTENSION, GIF_FRAME, GIF_END = 0x21, 0x2C, 0x3B
JPEG_FILL, JPEG_SCAN = 0xFF, 0xDA
# Markers of JPEG that Pillow reads without a length.
JPEG_MARKERS_WITHOUT_LENGTH = frozenset((0, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))


def has_more_parts(content: bytes, limit: int) -> bool:
    """Return True if a file has more parts than the limit.

    Parts are the chunks of a PNG, and the segments, blocks and stray bytes before the pixels of a JPEG or GIF. Other
    formats have none.
    """
    count = next((count for signature, count in COUNTERS.items() if content.startswith(signature)), None)
    return count is not None and count(content, limit) > limit


def _count_png(content: bytes, limit: int) -> int:
    position, parts = PNG_SIGNATURE_BYTES, 0
    while position + PNG_CHUNK_BYTES <= len(content) and parts <= limit:
        position += PNG_CHUNK_BYTES + int.from_bytes(content[position : position + 4], "big")
        parts += 1
    return parts


def _count_jpeg(content: bytes, limit: int) -> int:
    position, parts = 2, 0
    while position + 1 < len(content) and parts <= limit:
        marker = content[position + 1]
        if content[position] != JPEG_FILL:
            next_fill = content.find(JPEG_FILL, position)
            next_position = next_fill if next_fill >= 0 else len(content)
            parts += next_position - position
            position = next_position
            continue
        if marker == JPEG_SCAN:
            break
        parts += 1
        if marker == JPEG_FILL:
            position += 1
        elif marker in JPEG_MARKERS_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + max(int.from_bytes(content[position + 2 : position + 4], "big"), 2)
    return parts


def _count_gif(content: bytes, limit: int) -> int:
    flags = content[10] if len(content) > GIF_HEADER_BYTES else 0
    color_table_bytes = 3 << ((flags & 7) + 1) if flags & GIF_HAS_COLOR_TABLE else 0
    position, parts = GIF_HEADER_BYTES + color_table_bytes, 0
    while position < len(content) and parts <= limit:
        block = content[position]
        if block in (GIF_FRAME, GIF_END):
            break
        parts += 1
        position += 1
        if block != GIF_EXTENSION:
            continue
        position += 1
        while position < len(content) and parts <= limit and (size := content[position]):
            position += 1 + size
            parts += 1
        position += 1
    return parts


COUNTERS: Mapping[bytes, Callable[[bytes, int], int]] = MappingProxyType(
    {b"\x89PNG\r\n\x1a\n": _count_png, b"\xff\xd8": _count_jpeg, b"GIF87a": _count_gif, b"GIF89a": _count_gif}
)
