"""The memory of images: few are decoded at a time, only those of one prompt, and their memory is released."""

import asyncio
import base64
import io
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from millpond import LLM, AsyncLLM
from millpond.machine import trim_heap
from millpond.pipeline.bound_task import BoundTask
from millpond_io.images import decode_slots
from millpond_io.images import texts as image_texts
from millpond_io.images.decode_slots import MAX_SHARED_PIXELS, TRIM_MIN_PIXELS, DecodeSlots
from millpond_io.media.urls import Media
from millpond_transformers.testing.vision_language import tiny_vision_language

PATIENCE = 10.0


def png(seed):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    with LLM(str(tiny_vision_language("qwen2_vl", tmp_path_factory.mktemp("qwen"))), num_workers=1) as llm:
        yield llm


def test_only_the_images_of_one_prompt_are_in_memory_at_a_time(llm, monkeypatch):
    decoded, most, decode = [], [], image_texts.as_rgb

    def noted(image):
        decoded_image = decode(image)
        decoded.append(weakref.ref(decoded_image))
        most.append(sum(one() is not None for one in decoded))
        return decoded_image

    monkeypatch.setattr(image_texts, "as_rgb", noted)
    prompts = [{"multi_modal_data": {"image": [png(seed), png(seed + 100)]}} for seed in range(12)]
    vectors = [output.outputs.embedding for output in llm.embed(prompts, use_tqdm=False)]
    assert len({tuple(vector) for vector in vectors}) == len(prompts)
    assert len(most) == 2 * len(prompts)
    assert max(most) == 2


def test_two_images_are_decoded_at_once_and_very_large_ones_alone():
    slots, inside, release = DecodeSlots(), [], threading.Event()
    lock = threading.Lock()

    def work(pixels, entered):
        with slots.acquire(pixels):
            with lock:
                inside.append(pixels)
            entered.set()
            assert release.wait(PATIENCE)
            with lock:
                inside.remove(pixels)

    events = [threading.Event() for _ in range(3)]
    threads = [
        threading.Thread(target=work, args=(pixels, event), daemon=True)
        for pixels, event in zip((MAX_SHARED_PIXELS, MAX_SHARED_PIXELS, MAX_SHARED_PIXELS + 1), events, strict=True)
    ]
    for thread, event in zip(threads[:2], events, strict=False):
        thread.start()
        assert event.wait(PATIENCE)
    threads[2].start()
    assert not events[2].wait(0.1)
    assert inside == [MAX_SHARED_PIXELS, MAX_SHARED_PIXELS]
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert events[2].is_set()
    assert not inside


def test_two_that_are_large_never_wait_for_one_another():
    slots, ended = DecodeSlots(), []

    def work():
        for _ in range(200):
            with slots.acquire(2 * MAX_SHARED_PIXELS):
                pass
        ended.append(True)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(ended) == len(threads)


def test_a_turn_ends_even_after_an_error(monkeypatch):
    slots, trims = DecodeSlots(), []
    monkeypatch.setattr(decode_slots, "trim_heap", lambda: trims.append(True))
    for pixels in (1, TRIM_MIN_PIXELS - 1, TRIM_MIN_PIXELS, 9 * MAX_SHARED_PIXELS):
        with pytest.raises(ZeroDivisionError), slots.acquire(pixels):
            1 / 0  # noqa: B018
    assert len(trims) == 2
    with slots.acquire(9 * MAX_SHARED_PIXELS):
        assert len(trims) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory back by themselves")
def test_freed_memory_is_returned_to_the_system():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    blocks = [bytes(100_000) + b"x" for _ in range(2000)]
    blocks.append(b"y" * 100_000)  # behind them, which keeps all below it
    before, last = resident(), blocks[-1]
    del blocks
    trim_heap()
    assert before - resident() > 100_000_000
    assert len(last) == 100_000


def test_prompts_with_images_are_prepared_in_small_windows(llm, monkeypatch):
    """Each may take a hundred megabytes until it is computed; texts go by hundreds."""
    sizes, encode = [], BoundTask.encode

    def noted(self, places, items, *shared):
        sizes.append(len(items))
        return encode(self, places, items, *shared)

    monkeypatch.setattr(BoundTask, "encode", noted)
    image = png(0)
    texts = [f"pond {number}" for number in range(40)]
    plain = llm.embed(texts, use_tqdm=False)
    assert sizes == [40]
    sizes.clear()
    prompts = [*texts, *({"multi_modal_data": {"image": image}} for _ in range(5))]
    actual = llm.embed(prompts, use_tqdm=False)
    assert sizes == [16, 16, 13]
    for one, other in zip(plain, actual[:40], strict=True):
        assert np.abs(np.array(one.outputs.embedding) - np.array(other.outputs.embedding)).max() < 1e-5


def test_images_of_disconnected_clients_are_not_decoded(tmp_path, monkeypatch):
    """Eight abandoned requests of eight large images kept others waiting for a minute."""
    begun, released, decoded = threading.Event(), threading.Event(), []
    read = Media.read

    def slow(self, url):
        decoded.append(url)
        begun.set()
        assert released.wait(PATIENCE)
        return read(self, url)

    monkeypatch.setattr(Media, "read", slow)
    url = f"data:image/png;base64,{base64.b64encode(png(0)).decode()}"
    prompts = [{"multi_modal_data": {"image": [url, url]}} for _ in range(3)]

    async def ask():
        async with AsyncLLM(str(tiny_vision_language("qwen2_vl", tmp_path)), num_workers=1) as llm:
            abandoned = asyncio.create_task(llm.embed(prompts))
            await asyncio.to_thread(begun.wait, PATIENCE)
            abandoned.cancel()
            with pytest.raises(asyncio.CancelledError):
                await abandoned
            released.set()
            (output,) = await llm.embed(prompts[:1])
            return output

    assert asyncio.run(ask()).error is None
    assert len(decoded) == 1 + 2
