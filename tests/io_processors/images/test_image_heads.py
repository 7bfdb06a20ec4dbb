"""Files of images with millions of parts before their pixels are refused at once; those that cameras write are not."""

import struct
import time
import zlib

import numpy as np
import pytest

from millpond import InvalidInputError
from millpond.testing.pictures import file_of, picture
from millpond_io.images.files import LOCAL_LIMITS, UNTRUSTED_LIMITS, decode_image
from millpond_io.images.headers import has_more_parts

PICTURE = picture(12, 20)
NUM_PARTS = 400_000


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def within(content, position, added):
    return content[:position] + added + content[position:]


PNG, JPEG, GIF = file_of(PICTURE, "PNG"), file_of(PICTURE, "JPEG"), file_of(PICTURE, "GIF")
GIF_AT = 13 + (3 << ((GIF[10] & 7) + 1))
CASES = {
    "comments of a PNG": (PNG, 33, chunk(b"tEXt", b"a\0b")),
    "empty data of a PNG": (PNG, 33, chunk(b"IDAT")),
    "comments of a JPEG": (JPEG, 2, b"\xff\xfe\x00\x03a"),
    "EXIF heads of a JPEG": (JPEG, 2, b"\xff\xe1\x00\x08Exif\0\0"),
    "filling of a JPEG": (JPEG, 2, b"\xff"),
    "markers of a JPEG that stand alone": (JPEG, 2, b"\xff\xf0"),
    "stray bytes of a JPEG": (JPEG, 20, b"a"),
    "extensions of a GIF": (GIF, GIF_AT, b"!\xfe\x01a\0"),
    "one long extension of a GIF": (within(GIF, GIF_AT, b"!\xfe\0"), GIF_AT + 2, b"\x01a"),
    "stray bytes of a GIF": (GIF, GIF_AT, b"\0"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_many_parts_is_refused_at_once(case):
    content, position, part = CASES[case]
    attack = within(content, position, part * NUM_PARTS)
    began = time.thread_time()  # CPU time: the wall clock also counts other processes
    with pytest.raises(InvalidInputError, match="more than 8192 parts, such as comments; save it without them"):
        decode_image(attack, UNTRUSTED_LIMITS)
    assert time.thread_time() - began < 0.5  # where a decoder would take seconds


@pytest.mark.parametrize(
    "case", ["comments of a PNG", "comments of a JPEG", "filling of a JPEG", "extensions of a GIF"]
)
def test_a_few_thousand_are_read(case):
    content, position, part = CASES[case]
    for limits, count in ((UNTRUSTED_LIMITS, 4000), (LOCAL_LIMITS, 20_000)):
        image = decode_image(within(content, position, part * count), limits)
        assert np.array_equal(
            np.asarray(image.convert("RGB")), np.asarray(decode_image(content, limits).convert("RGB"))
        )


def test_files_of_common_encoders_have_few_parts():
    settings = [("PNG", {}), ("JPEG", {"progressive": True, "icc_profile": b"a" * 500_000}), ("GIF", {}), ("WEBP", {})]
    frames = [PICTURE.rotate(turn) for turn in range(30)]
    for kind, more in [*settings, ("PNG", {"save_all": True, "append_images": frames})]:
        assert not has_more_parts(file_of(PICTURE, kind, **more), 100)


@pytest.mark.parametrize("start", [PNG[:8], JPEG[:2], b"GIF89a", b"GIF87a", b""])
def test_random_bytes_with_more_than_ten_parts_have_more_than_none(start):
    random = np.random.default_rng(1)
    for size in (0, 1, 2, 3, 5, 12, 13, 40, 3000):
        for _ in range(30):
            content = start + random.bytes(size)
            assert has_more_parts(content, 10) <= has_more_parts(content, 0)
