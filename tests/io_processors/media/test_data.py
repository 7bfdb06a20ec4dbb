"""Images that a URL itself holds."""

import base64
import binascii
import random

import pytest

from millpond_io.media.urls import BASE64_CHUNK_CHARS, Media


def test_data_is_read(kit):
    assert Media((), "").read("data:image/png;base64," + base64.b64encode(kit.png).decode()) == kit.png
    with_parameters = "DATA:image/png;charset=utf-8;name=a%20pond.png;base64,"
    assert Media((), "").read(with_parameters + base64.b64encode(kit.png).decode()) == kit.png
    assert Media((), "").read("DATA:image/x-y+z;BASE64," + base64.b64encode(kit.png).decode()) == kit.png


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/png;base64,%%%", "not valid base64"),
        ("data:image/png;base64,AAA", "not valid base64"),
        ("data:image/png;base64,AA\nAA", "not valid base64"),
        ("data:image/png;base64,\u00e9", "not valid base64"),
        ("data:image/png,AAAA", "must begin with data:image"),
        ("data:text/html;base64,AAAA", "must begin with data:image"),
        ("data:;base64,AAAA", "must begin with data:image"),
        ("data:image/png;charset=x;AAAA", "must begin with data:image"),
        ("data:image/png;base64;charset=x,AAAA", "must begin with data:image"),
    ],
)
def test_data_that_is_none_is_refused(url, message, kit):
    kit.refused(Media((), "").read, url, message)


def test_data_that_is_too_large_is_refused_before_it_is_decoded(monkeypatch, kit):
    monkeypatch.setattr(binascii, "a2b_base64", lambda *_, **__: pytest.fail("it was decoded"))
    kit.refused(Media((), "").read, "data:image/png;base64," + "A" * 12_000_000, "the maximum is 8388608")


def whole(written):
    """Return the decoded base64; None if it is invalid."""
    try:
        return base64.b64decode(written, validate=True)
    except ValueError:
        return None


@pytest.mark.parametrize(
    "size", [BASE64_CHUNK_CHARS * 3 // 4 + extra for extra in (-2, -1, 0, 1, 2)] + [BASE64_CHUNK_CHARS * 2]
)
def test_base64_decoded_in_pieces_equals_base64_decoded_at_once(kit, size):
    content = random.Random(size).randbytes(size)
    written = base64.b64encode(content).decode()
    assert Media((), "").read("data:image/png;base64," + written) == content
    for position in (BASE64_CHUNK_CHARS - 2, BASE64_CHUNK_CHARS - 1, BASE64_CHUNK_CHARS, len(written) // 2):
        for wrong in ("=", "==", "-", "\n"):
            damaged = written[:position] + wrong + written[position + len(wrong) :]
            if damaged.endswith("=") and len(damaged.rstrip("=")) % 4 == 0:
                continue  # padding behind what needs none: some versions of Python take it
            url = f"data:image/png;base64,{damaged}"
            if (expected := whole(damaged)) is None:
                kit.refused(Media((), "").read, url, "not valid base64")
            else:
                assert Media((), "").read(url) == expected
