"""Remote images: they are recognized, several of a call are fetched concurrently, and few are kept."""

import threading

import pytest

from millpond.pipeline.cancellation import CancellableWork
from millpond.types.errors import InvalidInputError, RequestCancelledError
from millpond.types.prompts import ImagePart, PairItem, remote_images
from millpond_io.media.prefetch import MAX_CONCURRENT_FETCHES, fetch_image, prefetch_images

PATIENCE = 60
A, B, C = (f"https://example.org/{name}.png" for name in "abc")


def images(*urls):
    return [{"multi_modal_data": {"image": url}} for url in urls]


@pytest.mark.parametrize(
    ("prompt", "urls"),
    [
        ("https://example.org is a text", []),
        ({"prompt": A}, []),
        ({"multi_modal_data": {"image": A}}, [A]),
        (
            {"multi_modal_data": {"image": [A, "data:image/png;base64,", B.replace("https", "HTTP")]}},
            [A, B.replace("https", "HTTP")],
        ),
        ({"multi_modal_data": None}, []),
        ({"messages": [{"role": "user", "content": A}]}, []),
        (
            {"messages": [{"content": [A, {"type": "text", "text": B}, {"image_url": {"url": C}}, {"image": A}]}]},
            [C, A],
        ),
        ({"messages": 5}, []),
        ({"messages": [5, {"content": [None]}]}, []),
        (PairItem("https://a", (ImagePart(A), "text", ImagePart(object()))), [A]),
        (PairItem((ImagePart(A),), (ImagePart(B),)), [A, B]),
        ([1, 2], []),
    ],
)
def test_remote_images_are_recognized(prompt, urls):
    assert list(remote_images([prompt])) == urls


def test_images_of_a_call_are_fetched_at_the_same_time():
    together = threading.Barrier(MAX_CONCURRENT_FETCHES)

    def fetch(url):
        together.wait(PATIENCE)
        return url.encode()

    urls = [f"https://example.org/{number}" for number in range(2 * MAX_CONCURRENT_FETCHES)]
    with prefetch_images(images(*urls)):
        assert [fetch_image(url, fetch) for url in urls] == [url.encode() for url in urls]


def test_the_number_of_prefetched_images_is_limited():
    begun = []

    def fetch(url):
        begun.append(url)
        return b""

    urls = [f"https://example.org/{number}" for number in range(50)]
    with prefetch_images(images(*urls)):
        fetch_image(urls[0], fetch)
    assert len(begun) <= MAX_CONCURRENT_FETCHES


def test_an_image_that_is_named_twice_is_fetched_once_and_another_by_itself():
    asked = []

    def fetch(url):
        asked.append(url)
        return url.encode()

    with prefetch_images(images(A, B, A)):
        assert [fetch_image(url, fetch) for url in (A, B, A, C)] == [url.encode() for url in (A, B, A, C)]
    assert sorted(asked) == [A, B, C]


def test_an_image_that_cannot_be_fetched_fails_alone():
    def fetch(url):
        if url == A:
            raise InvalidInputError("no", parameter="multi_modal_data")
        return b"image"

    with prefetch_images(images(A, B)):
        with pytest.raises(InvalidInputError, match="no"):
            fetch_image(A, fetch)
        assert fetch_image(B, fetch) == b"image"


def test_a_cancelled_call_fetches_no_further_image():
    may_end, begun = threading.Event(), []

    def fetch(url):
        begun.append(url)
        work.cancel()  # the client goes away
        assert may_end.wait(PATIENCE)
        return b""

    def call():
        with prefetch_images(images(*(f"https://example.org/{number}" for number in range(9)))):
            fetch_image("https://example.org/0", fetch)

    work = CancellableWork(call)
    with pytest.raises(RequestCancelledError):
        work()
    may_end.set()
    assert len(begun) <= MAX_CONCURRENT_FETCHES


def test_a_single_image_is_fetched_in_the_thread_that_reads_it():
    names = []
    with prefetch_images(images(A)):
        fetch_image(A, lambda _: names.append(threading.current_thread().name) or b"")
    assert names == [threading.current_thread().name]
