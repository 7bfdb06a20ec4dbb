"""Prefetching of remote images: the images of a call are fetched several at a time, before they are decoded."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar

from millpond.pipeline.cancellation import check_cancelled
from millpond.types.prompts import ImagePart, PairItem

MAX_CONCURRENT_FETCHES = 4  # per call
CANCELLATION_CHECK_S = 0.1
SCHEMES = ("http://", "https://")
IMAGE_KEYS = ("image", "image_url")  # keys of message parts that hold an image
Fetch = Callable[[str], bytes]


class ImagePrefetcher:
    """Fetches the images of a call, a few ahead of the one being read. Each is kept until its last use.

    Args:
        urls: The URLs in the order of use, with repetitions.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._uses_left = Counter(urls)
        self._order = list(self._uses_left)
        self._futures: dict[str, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT_FETCHES, thread_name_prefix="millpond-fetch")

    def get(self, url: str, fetch: Fetch) -> bytes:
        """Return the content of a URL, and start to fetch the next ones.

        Args:
            url: The URL.
            fetch: Fetches a URL.

        Raises:
            RequestCancelledError: If the call was cancelled.
        """
        if not self._uses_left[url]:
            return fetch(url)
        index = self._order.index(url)
        for each in self._order[index : index + MAX_CONCURRENT_FETCHES]:
            if each not in self._futures and self._uses_left[each]:
                self._futures[each] = self._pool.submit(fetch, each)
        future = self._futures[url]
        while not wait([future], CANCELLATION_CHECK_S).done:
            check_cancelled()
        self._uses_left[url] -= 1
        if not self._uses_left[url]:
            del self._futures[url]
        return future.result()

    def close(self) -> None:
        """Start no more fetches; running ones end by their own time limit."""
        self._pool.shutdown(wait=False, cancel_futures=True)


_prefetcher: ContextVar[ImagePrefetcher | None] = ContextVar("prefetcher", default=None)


def fetch_image(url: str, fetch: Fetch) -> bytes:
    """Return the content of a URL, prefetched if this thread is inside ``prefetch_images``."""
    prefetcher = _prefetcher.get()
    return fetch(url) if prefetcher is None else prefetcher.get(url, fetch)


@contextmanager
def prefetch_images(prompts: Iterable[object]) -> Iterator[None]:
    """Prefetch the remote images of prompts that ``fetch_image`` reads in this thread until the block ends."""
    urls = list(remote_images(prompts))
    if len(urls) < 2:  # noqa: PLR2004  a single image needs no prefetching
        yield
        return
    prefetcher = ImagePrefetcher(urls)
    token = _prefetcher.set(prefetcher)
    try:
        yield
    finally:
        _prefetcher.reset(token)
        prefetcher.close()


def remote_images(prompts: Iterable[object]) -> Iterator[str]:
    """Yield the HTTP URLs of images in prompts, queries and documents."""
    for prompt in prompts:
        if isinstance(prompt, PairItem):
            for content in (prompt.query, prompt.document):
                parts = content if isinstance(content, tuple) else ()
                yield from _urls(part.image for part in parts if isinstance(part, ImagePart))
        elif isinstance(prompt, Mapping):
            data = prompt.get("multi_modal_data")
            yield from _urls(_as_list(data.get("image")) if isinstance(data, Mapping) else ())
            for message in _as_list(prompt.get("messages")):
                content = message.get("content") if isinstance(message, Mapping) else None
                for part in _as_list(content):
                    yield from _urls(part.get(key) for key in IMAGE_KEYS) if isinstance(part, Mapping) else ()


def _as_list(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else (value,)


def _urls(images: Iterable[object]) -> Iterator[str]:
    """Yield the HTTP URLs among images; an image may be an object with a ``url``."""
    for image in images:
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str) and url[: len(SCHEMES[-1])].lower().startswith(SCHEMES):
            yield url
