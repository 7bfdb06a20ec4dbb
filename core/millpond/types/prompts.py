"""The forms of prompts in calls, and the division of a call into prompts."""

from collections.abc import Iterable, Iterator, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import index
from typing import NotRequired, TypeAlias, TypedDict, TypeGuard

from millpond.types.errors import InvalidInputError

FORMS = (
    'a str, a list of token ids, {"prompt": str}, {"prompt_token_ids": [int, ...]}, {"messages": [...]} or '
    '{"data": ...} '
    "(for a list of prompts, a list of these)"
)
NO_DATA = (
    "The 'data' field of the prompt is expected to contain the prompt data and it cannot be None. "
    "Refer to the documentation of the IOProcessor in use for more details."
)
PROMPT_NAMES: Mapping[str, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""The names of a checkpoint's prompts for queries and documents; the first that it has is used."""
SCHEMES = ("http://", "https://")
IMAGE_KEYS = ("image", "image_url")  # keys of message parts that hold an image
MEDIA_FIELDS = frozenset({"data", "messages", "multi_modal_data"})  # fields of prompts with other content than text


class TextPrompt(TypedDict):
    """A prompt given as text."""

    prompt: str
    multi_modal_data: NotRequired[Mapping[str, object]]
    mm_processor_kwargs: NotRequired[Mapping[str, object]]
    cache_salt: NotRequired[str]


class TokensPrompt(TypedDict):
    """A prompt given as token ids, special tokens included."""

    prompt_token_ids: list[int]
    multi_modal_data: NotRequired[Mapping[str, object]]
    mm_processor_kwargs: NotRequired[Mapping[str, object]]
    cache_salt: NotRequired[str]


class DataPrompt(TypedDict):
    """A prompt that only an IO processor plugin understands."""

    data: object


@dataclass
class TemplateBudget:
    """The CPU time for untrusted templates, such as those in requests; shared by the prompts of a request.

    Untrusted templates are rendered in a process with limits on time, memory and system access.

    Attributes:
        seconds: The remaining CPU time.
    """

    seconds: float = 1.0


@dataclass(frozen=True)
class ScoreCall:
    """The arguments of ``LLM.score``, not yet checked.

    Attributes:
        queries: One text, or a list.
        documents: One text, or a list.
    """

    queries: object
    documents: object


@dataclass(frozen=True, eq=False, slots=True)
class ImagePart:
    """A part of a content with an image: a URL or an image object.

    Parts with the same URL are equal; other parts are equal if they contain the same object.
    """

    image: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImagePart) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> str | int:
        return self.image if isinstance(self.image, str) else id(self.image)


Content: TypeAlias = str | tuple[str | ImagePart, ...]  # a text, or parts with at least one image


@dataclass(frozen=True)
class PairItem:
    """A query with a document, for cross-encoders; or a query or a document alone, for embedding models.

    Attributes:
        query: The query; None for a document alone.
        document: The document; None for a query alone.
    """

    query: Content | None = None
    document: Content | None = None


@dataclass(frozen=True)
class ChunksCall:
    """The arguments of ``LLM.embed_chunks``, not yet checked.

    Attributes:
        texts: One text, or a list.
        spans: The character ranges of the chunks of the text, or of each text; None to split by tokens.
        chunk_tokens: The number of tokens of a chunk.
        overlap: The number of tokens that consecutive chunks share.
        method: "late" or "naive".
    """

    texts: object
    spans: object = None
    chunk_tokens: object = None
    overlap: object = 0
    method: object = "late"


def plugin_data(item: object) -> object:
    """Return the content of a prompt of the form ``{"data": ...}``.

    Raises:
        InvalidInputError: If it has another form, or the data is None.
    """
    if not isinstance(item, Mapping) or "data" not in item:
        message = f'the "plugin" pooling task takes {{"data": ...}}; got {type(item).__name__}'
        raise InvalidInputError(message, parameter="data")
    if item["data"] is None:
        raise InvalidInputError(NO_DATA, parameter="data")
    return item["data"]


def split_prompts(prompts: object) -> list[object]:
    """Split the argument of a caller into single prompts, in order; a list of ints is one prompt.

    Raises:
        InvalidInputError: If it has another type, or is empty.
    """
    if isinstance(prompts, str | Mapping):
        return [prompts]
    check_ordered(prompts, "prompts")
    if not is_list(prompts):
        message = f"expected {FORMS}; got {type(prompts).__name__}"
        raise InvalidInputError(message, parameter="prompts")
    items = list(prompts)
    if not items:
        message = f"You must pass at least one prompt: the list is empty. Expected {FORMS}"
        raise InvalidInputError(message, parameter="prompts")
    return [items] if is_token_id(items[0]) else items


def check_ordered(value: object, parameter: str) -> None:
    """Refuse sets and views of dicts, because results are returned in the order of prompts.

    Raises:
        InvalidInputError: If the value is one of these.
    """
    if isinstance(value, AbstractSet | ValuesView):
        kind = type(value).__name__
        message = (
            f"{parameter}: results are returned in the order of prompts, and a {kind} has none. Pass a list, such as "
            "sorted(...) or list(...)"
        )
        raise InvalidInputError(message, parameter=parameter)


def may_hold_media(item: object) -> bool:
    """Return True if a prompt, a query or a document may contain more than text or token ids."""
    if isinstance(item, PairItem):
        return not all(isinstance(content, str | None) for content in (item.query, item.document))
    return isinstance(item, Mapping) and not MEDIA_FIELDS.isdisjoint(item)


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


def is_token_id(value: object) -> bool:
    """Return True for an integer of Python, numpy or torch, except a bool."""
    if type(value) is int:
        return True
    if isinstance(value, bool) or getattr(value, "ndim", 0) != 0 or "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        index(value)  # type: ignore[arg-type]  # index raises TypeError for other types
    except TypeError:
        return False
    return True


def is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Return True for iterables except bytes; arrays without dimensions have ``__iter__`` but are not iterable."""
    return isinstance(value, Iterable) and not isinstance(value, bytes | bytearray) and getattr(value, "ndim", 1) != 0


def _as_list(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else (value,)


def _urls(images: Iterable[object]) -> Iterator[str]:
    """Yield the HTTP URLs among images; an image may be an object with a ``url``."""
    for image in images:
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str) and url[: len(SCHEMES[-1])].lower().startswith(SCHEMES):
            yield url
