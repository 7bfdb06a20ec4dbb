"""Images in prompts: accepted forms, errors for invalid ones, and their memory."""

import asyncio
import base64
import io
import resource
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from millpond import LLM, AsyncLLM, InvalidInputError, MillpondError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_io.images import files as image_files
from millpond_io.media.urls import Media
from millpond_models.testing.dual_encoders import tiny_dual_encoder

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 30, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
MEAN = PoolingParams(extra_kwargs={"mixed_modality": "mean"})


def saved(image=PICTURE, kind="PNG", **settings):
    content = io.BytesIO()
    image.save(content, format=kind, **settings)
    return content.getvalue()


def url_of(content, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def of(image, **more):
    return {"multi_modal_data": {"image": image}, **more}


def message(*parts, role="user"):
    return {"messages": [{"role": role, "content": list(parts)}]}


def part(url):
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_dual_encoder("CLIPModel", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def llm(folder, tmp_path_factory):
    with LLM(str(folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def expected(llm):
    return embed(llm, of(PICTURE))


def embed(llm, prompt, params=None):
    (output,) = llm.embed([prompt], pooling_params=params, use_tqdm=False)
    return output.outputs.array


def refused(llm, prompt, message, params=None):
    with pytest.raises(InvalidInputError, match=message) as caught:
        embed(llm, prompt, params)
    for word in ("0x", "Errno", "cannot identify", "PIL.", "BytesIO", "Traceback", "truncated"):
        assert word not in str(caught.value)


# --- forms ------------------------------------------------------------------------------------------------------------


def test_all_forms_are_one_image(llm, expected, tmp_path):
    path = tmp_path / "a picture.png"
    path.write_bytes(saved())
    gray = PIXELS[..., 0]
    forms = [
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        PIXELS[::-1][::-1],
        path,
        saved(),
        bytearray(saved()),
        memoryview(saved()),
        saved(kind="WEBP", lossless=True),
        url_of(saved()),
        [PICTURE],
        (url_of(saved()),),
    ]
    for form in forms:
        assert np.array_equal(embed(llm, of(form)), expected), type(form)
    assert np.array_equal(embed(llm, of(gray)), embed(llm, of(gray[..., None])))
    assert np.array_equal(embed(llm, of(gray)), embed(llm, of(np.stack([gray] * 3))))
    assert np.array_equal(embed(llm, of(PICTURE, prompt="")), expected)
    assert np.array_equal(embed(llm, of(PICTURE, prompt_token_ids=[])), expected)


def test_messages_with_an_image(llm, expected):
    url = url_of(saved())
    for prompt in (
        message(part(url)),
        message({"type": "image_url", "image_url": url}),
        message({"type": "image_url", "image_url": {"url": url, "detail": "low"}, "uuid": "x"}),
        message({"type": "image_pil", "image_pil": PICTURE}),
        message({"type": "text", "text": ""}, part(url)),
        {
            "messages": [
                *message({"type": "text", "text": ""}, role="system")["messages"],
                *message(part(url))["messages"],
            ]
        },
    ):
        assert np.array_equal(embed(llm, prompt), expected)
    assert np.array_equal(embed(llm, message({"type": "text", "text": "water"})), embed(llm, "water"))


def test_hosts_are_those_that_the_model_was_loaded_with(llm, folder):
    refused(llm, of("http://localhost/a.png"), "may not be fetched from the host 'localhost'")
    with LLM(str(folder), allowed_media_domains="localhost", num_workers=1) as other:
        refused(other, of("http://localhost/a.png"), "its host is not on the public internet")
        refused(other, message(part("http://localhost.test/a.png")), "may not be fetched from the host")


def test_files_are_read_below_the_folder_that_is_allowed(folder, expected, tmp_path):
    (tmp_path / "a.png").write_bytes(saved())
    with LLM(str(folder), allowed_local_media_path=tmp_path, num_workers=1) as llm:
        assert np.array_equal(embed(llm, message(part(f"file://{tmp_path}/a.png"))), expected)
        refused(llm, message(part(f"file://{tmp_path}/b.png")), "the file may not be read")
        refused(llm, of("file:///etc/passwd"), "the file may not be read")


def test_an_image_is_turned_as_its_camera_was_held(llm):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = saved(kind="PNG", exif=exif)
        from PIL import ImageOps

        with Image.open(io.BytesIO(content)) as image:
            turned = ImageOps.exif_transpose(image)
            assert np.array_equal(embed(llm, of(content)), embed(llm, of(turned)))
            assert np.array_equal(embed(llm, of(image)), embed(llm, of(PICTURE)))  # a PIL image is not rotated


def test_damaged_exif_data_does_not_prevent_reading_an_image(llm, expected, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved(kind="PNG", exif=exif)
    assert not np.array_equal(embed(llm, of(whole)), expected)

    def damaged(_self):
        message = "bad operand type for abs(): 'str'"
        raise TypeError(message)  # as Pillow does of some

    monkeypatch.setattr(Image.Image, "getexif", damaged)
    assert np.array_equal(embed(llm, of(whole)), expected)


def test_the_first_frame_of_an_animation_is_used(llm, expected):
    content = saved(kind="WEBP", save_all=True, append_images=[Image.new("RGB", PICTURE.size)] * 9, lossless=True)
    assert np.array_equal(embed(llm, of(content)), expected)


def test_transparent_pixels_become_white(llm):
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert np.array_equal(embed(llm, of(clear)), embed(llm, of(Image.new("RGB", (32, 32), "white"))))
    assert np.array_equal(embed(llm, of(saved(clear))), embed(llm, of(clear)))


def test_sixteen_bits_of_grey_in_a_file_are_brought_to_eight(llm):
    grey = np.random.default_rng(1).integers(0, 256, (32, 40), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    plain = embed(llm, of(Image.fromarray(grey)))
    assert not np.array_equal(
        embed(llm, of(deep)), plain
    )  # Pillow's image has the values of transformers, nearly white
    assert np.array_equal(embed(llm, of(saved(deep))), plain)
    assert np.array_equal(embed(llm, of(saved(deep, transparency=7))), plain)


def test_images_may_be_mixed_with_texts_and_an_invalid_one_fails_alone(llm, expected):
    prompts = ["water", of(PICTURE), of(b"no image"), [5, 6], of(PIXELS), of("http://a.test/x.png")]
    outputs = llm.embed(prompts, on_error="return", use_tqdm=False)
    assert [output.error is None for output in outputs] == [True, True, False, True, True, False]
    assert "prompt 2" in str(outputs[2].error)
    assert "prompt 5" in str(outputs[5].error)
    assert np.array_equal(outputs[1].outputs.array, expected)
    assert outputs[1].num_prompt_tokens == 17


def test_a_slow_host_does_not_delay_texts(folder, expected, monkeypatch):
    released = threading.Event()

    def slow(self, url):
        assert released.wait(30)
        return saved()

    monkeypatch.setattr(Media, "read", slow)

    async def ask():
        async with AsyncLLM(str(folder), num_workers=1) as llm:
            waiting = [asyncio.create_task(llm.embed(of(f"http://a.test/{index}"))) for index in range(4)]
            waiting += [asyncio.create_task(llm.embed(message(part("http://a.test/")))) for _ in range(4)]
            await asyncio.sleep(0.05)
            await asyncio.wait_for(llm.embed(["water", [5, 6]]), 10)
            assert not any(task.done() for task in waiting)
            released.set()
            return [(await task)[0].outputs.array for task in waiting]

    assert all(np.array_equal(vector, expected) for vector in asyncio.run(ask()))


# --- text and image ---------------------------------------------------------------------------------------------------

BOTH = "accepts text-only or image-only inputs, not both! Image-only inputs means passing an image with an empty text"


def test_text_with_an_image_is_refused_as_upstream_does(llm):
    refused(llm, of(PICTURE, prompt="water"), f"CLIP {BOTH} prompt")
    refused(llm, of(PICTURE, prompt_token_ids=[5]), BOTH)
    refused(llm, message({"type": "text", "text": "water"}, part(url_of(saved()))), BOTH)
    refused(
        llm,
        of(PICTURE, prompt="water"),
        "expected 'error' or 'mean'",
        PoolingParams(extra_kwargs={"mixed_modality": "sum"}),
    )


def test_siglip_is_called_by_its_name(tmp_path):
    with LLM(str(tiny_dual_encoder("SiglipModel", tmp_path)), num_workers=1) as llm:
        refused(llm, of(PICTURE, prompt="water"), f"SigLIP {BOTH}")


def test_the_mean_of_both_vectors_by_choice(llm, folder):
    both = of(PICTURE, prompt="water")
    sum_ = embed(llm, "water") + embed(llm, of(PICTURE))
    vector = embed(llm, both, MEAN)
    assert np.allclose(vector, sum_ / np.linalg.norm(sum_), atol=1e-6)
    bare = PoolingParams(use_activation=False, extra_kwargs={"mixed_modality": "mean"})
    parts = [embed(llm, one, PoolingParams(use_activation=False)) for one in ("water", of(PICTURE))]
    assert np.allclose(embed(llm, both, bare), sum(parts) / 2, atol=1e-6)
    (output,) = llm.embed([both], pooling_params=MEAN, use_tqdm=False)
    (text,) = llm.embed(["water"], use_tqdm=False)
    assert output.num_prompt_tokens == text.num_prompt_tokens + 17
    with LLM(str(folder), mixed_modality="mean", num_workers=1) as other:
        assert np.array_equal(embed(other, both), vector)
        assert np.array_equal(embed(other, message({"type": "text", "text": "water"}, part(url_of(saved())))), vector)
        refused(other, both, BOTH, PoolingParams(extra_kwargs={"mixed_modality": "error"}))
        assert np.array_equal(embed(other, "water"), embed(llm, "water"))


def test_token_vectors_have_no_mean(llm):
    with pytest.raises(InvalidInputError, match="the task 'embed' can return the mean of both vectors"):
        llm.encode([of(PICTURE, prompt="water")], MEAN, pooling_task="token_embed", use_tqdm=False)


# --- what is refused --------------------------------------------------------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height, *, data=None):
    """A small PNG with a header of a large image."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * min(width * height * 3 + height, 2**24), 9) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def truncated(kind):
    content = saved(kind=kind)
    return content[: len(content) // 2]


REFUSED = {
    "nothing": (None, "expected a PIL image"),
    "a number": (7, "expected a PIL image.*got int"),
    "an object": ({"url": "x"}, "got dict"),
    "two": ([PICTURE, PICTURE], r"At most 1 image\(s\) may be provided in one prompt; got 2"),
    "none": ([], r"At most 1 image"),
    "a path as text": ("cat.png", "must begin with data:image.*pathlib.Path"),
    "a path that is not there": (Path("no-such.png"), "no-such.png cannot be read"),
    "a folder": (Path(), "cannot be read"),
    "no bytes": (b"", "damaged, or its format is not one of PNG, JPEG, WEBP, GIF"),
    "no image": (b"hello", "damaged, or its format is not one of"),
    "html": (url_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"), "damaged, or its format is not one of"),
    "half a PNG": (truncated("PNG"), "damaged, or its format is not one of"),
    "half a JPEG": (truncated("JPEG"), "damaged, or its format is not one of"),
    "half a WEBP": (truncated("WEBP"), "damaged, or its format is not one of"),
    "BMP": (saved(kind="BMP"), "damaged, or its format is not one of"),
    "TIFF": (saved(kind="TIFF"), "damaged, or its format is not one of"),
    "ICO": (saved(kind="ICO"), "damaged, or its format is not one of"),
    "EPS": (saved(kind="EPS"), "damaged, or its format is not one of"),
    "PPM": (saved(kind="PPM"), "damaged, or its format is not one of"),
    "bomb": (bomb(13_000, 13_000), "more than 16777216 pixels"),
    "larger bomb": (bomb(50_000, 50_000), "more than 16777216 pixels"),
    "a bomb as text": (url_of(bomb(9_000, 9_000)), "more than 16777216 pixels"),
    "a PNG of no pixels": (bomb(0, 5, data=b""), "damaged, or its format is not one of|no pixels"),
    "long and thin": (bomb(1, 60_000), "too long and thin"),
    "longer than that": (bomb(1, 2**24), "1 by 16777216 pixels; the maximum for a side is 65536"),
    "nine megabytes": (b"\x89PNG" + b"\0" * 9 * 2**20, "9437188 bytes; the maximum is 8388608"),
    "many scans": (saved(kind="JPEG")[:-2] + b"\xff\xda\0\0" * 99, "more than 64 scans"),
    "floats": (PIXELS / 255.0, r"must have the dtype uint8.*\(array \* 255\)"),
    "an array of two dimensions too many": (PIXELS[None, None], "must have the dtype uint8"),
    "an array of two channels": (PIXELS[..., :2], "must have the dtype uint8"),
    "an array of no pixels": (PIXELS[:0], "no pixels|expected"),
}


def test_the_message_of_the_image_library_is_not_shown(llm, monkeypatch, caplog):
    def fail(*_, **__):
        message = "decoder failed at 0x7f00"
        raise ValueError(message)

    caplog.set_level("INFO")
    for name, image in (("convert", PICTURE), ("resize", PICTURE), ("convert", saved())):
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, name, fail)
            refused(llm, of(image), "damaged")
    assert "0x7f00" in caplog.text


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_not_an_image_is_refused_without_the_message_of_pillow(llm, case):
    refused(llm, of(REFUSED[case][0]), REFUSED[case][1])


def test_a_decompression_bomb_is_refused_without_being_decoded(llm):
    content = bomb(13_000, 13_000)
    assert len(content) < 50_000
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused(llm, of(content), "pixels")
    assert time.process_time() - began < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kibibytes


def test_random_bytes_after_a_header_cause_no_other_error(llm):
    heads = [saved()[:40], saved(kind="JPEG")[:200], saved(kind="WEBP")[:40], saved(kind="GIF")[:60]]
    for index in range(200):
        content = bytearray(heads[index % 4] + RANDOM.bytes(int(RANDOM.integers(0, 300))))
        try:
            assert np.isfinite(embed(llm, of(bytes(content)))).all()
        except InvalidInputError as error:
            assert "0x" not in str(error)  # noqa: PT017  some of them are images


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 7), (4000, 4000)])
def test_odd_sizes_are_served(llm, size):
    assert np.isfinite(embed(llm, of(saved(Image.new("RGB", size))))).all()


def test_other_media_are_refused(llm):
    for name in ("video", "audio"):
        refused(llm, {"multi_modal_data": {name: b"x"}}, f"reads images; 'multi_modal_data' has '{name}'")
        refused(llm, {"multi_modal_data": {name: b"x", "image": PICTURE}}, f"has '{name}'")
    refused(llm, {"multi_modal_data": "x"}, "must be a dict")
    refused(llm, message({"type": "image_url"}), "a part of type image_url requires an image")
    refused(llm, message({"type": "video_url", "video_url": {"url": "x"}}), "parts of types text and image_url")
    refused(llm, message(part(7)), "got int")


def test_a_text_model_refuses_images(tmp_path):
    with LLM(str(tiny("BertModel", tmp_path)), num_workers=1) as llm:
        refused(llm, of(PICTURE), "accepts only text")
        refused(llm, message(part(url_of(saved()))), "only supports parts of type text")


def test_the_errors_of_other_tasks_state_that_they_take_text(llm):
    with pytest.raises(InvalidInputError, match="accepts only text"):
        llm.represent([of(PICTURE)], [{"task": "embed"}])


def test_without_pillow_the_error_contains_the_install_command(llm, monkeypatch):
    prompts = [of(saved()), of(PIXELS)]
    monkeypatch.setitem(sys.modules, "PIL", None)
    for prompt in prompts:
        with pytest.raises(InvalidInputError, match="images need Pillow: pip install pillow"):
            embed(llm, prompt)


def test_insufficient_memory_is_reported(llm, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(image_files, "_decode", full)
    with pytest.raises(MillpondError, match="not enough memory"):
        embed(llm, of(saved()))
