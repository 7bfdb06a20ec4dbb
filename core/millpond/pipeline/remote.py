"""Remote: images of a call that come from other hosts are fetched several at a time, ahead of what reads them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar

from millpond.pipeline.awaited import check_awaited
from millpond.types.prompts import ImagePart, PairItem

AT_ONCE = 4  # files of a call
LOOK = 0.1  # seconds between two looks at whether anybody waits for the call
SCHEMES = ("http://", "https://")
KEYS = ("image", "image_url")  # under which parts of messages hold images
Fetch = Callable[[str], bytes]


class Together:
    """Fetches the files of a call, a few ahead of the one that is read; each is kept until it was read.

    Args:
        urls: The URLs in the order in which they will be read, with repetitions.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._left = Counter(urls)
        self._order = list(self._left)
        self._begun: dict[str, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="millpond-fetch")

    def get(self, url: str, fetch: Fetch) -> bytes:
        """Return a file.

        Args:
            url: Its URL.
            fetch: Fetches a file.

        Raises:
            RequestCancelledError: If nobody waits for the call any more.
        """
        if not self._left[url]:
            return fetch(url)
        place = self._order.index(url)
        for each in self._order[place : place + AT_ONCE]:
            if each not in self._begun and self._left[each]:
                self._begun[each] = self._pool.submit(fetch, each)
        future = self._begun[url]
        while not wait([future], LOOK).done:
            check_awaited()
        self._left[url] -= 1
        if not self._left[url]:
            del self._begun[url]
        return future.result()

    def close(self) -> None:
        """Begin no more; what is on its way ends by its own time limit."""
        self._pool.shutdown(wait=False, cancel_futures=True)


_together: ContextVar[Together | None] = ContextVar("together", default=None)


def fetched(url: str, fetch: Fetch) -> bytes:
    """Return a file, together with others of the call where this thread prepares one."""
    together = _together.get()
    return fetch(url) if together is None else together.get(url, fetch)


@contextmanager
def fetched_together(prompts: Iterable[object]) -> Iterator[None]:
    """Have ``fetched`` fetch the images of some prompts several at a time, in this thread and until the block ends."""
    urls = list(remote_images(prompts))
    if len(urls) < 2:  # noqa: PLR2004  one has no other to go with
        yield
        return
    together = Together(urls)
    token = _together.set(together)
    try:
        yield
    finally:
        _together.reset(token)
        together.close()


def remote_images(prompts: Iterable[object]) -> Iterator[str]:
    """Yield the URLs of hosts that stand for images in prompts, queries and documents."""
    for prompt in prompts:
        if isinstance(prompt, PairItem):
            for content in (prompt.query, prompt.document):
                parts = content if isinstance(content, tuple) else ()
                yield from _urls(part.image for part in parts if isinstance(part, ImagePart))
        elif isinstance(prompt, Mapping):
            data = prompt.get("multi_modal_data")
            yield from _urls(_each(data.get("image")) if isinstance(data, Mapping) else ())
            for message in _each(prompt.get("messages")):
                content = message.get("content") if isinstance(message, Mapping) else None
                for part in _each(content):
                    yield from _urls(part.get(key) for key in KEYS) if isinstance(part, Mapping) else ()


def _each(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else (value,)


def _urls(images: Iterable[object]) -> Iterator[str]:
    """The URLs among images, which may be objects that hold one."""
    for image in images:
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str) and url[: len(SCHEMES[-1])].lower().startswith(SCHEMES):
            yield url
