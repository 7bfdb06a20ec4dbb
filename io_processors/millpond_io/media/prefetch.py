"""Prefetching of remote images: the images of a call are fetched several at a time, before they are decoded."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar

from millpond.pipeline.cancellation import check_cancelled
from millpond.types.prompts import remote_images

MAX_CONCURRENT_FETCHES = 4  # per call
CANCELLATION_CHECK_S = 0.1
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
    urls = [] if _prefetcher.get() is not None else list(remote_images(prompts))  # an outer block prefetches them
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
