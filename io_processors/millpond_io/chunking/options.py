"""Options of ``LLM.embed_chunks``: checks of spans and chunk sizes, and one item per text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as brief

from millpond.types.errors import InvalidInputError
from millpond.types.prompts import ChunksCall, check_ordered, is_token_id, split_prompts

METHODS = ("late", "naive")
Span = tuple[int, int]


@dataclass(frozen=True)
class TextInChunks:
    """One text of a call of ``LLM.embed_chunks``, with the fields of ``ChunksCall`` for this text."""

    text: object
    spans: object = None
    chunk_tokens: object = None
    overlap: object = 0
    method: object = "late"


@dataclass(frozen=True)
class Cut:
    """The chunks of a text: spans of characters, or chunks of ``size`` tokens that overlap by ``overlap`` tokens."""

    spans: tuple[Span, ...] | None
    size: int
    overlap: int


def split_call(call: object) -> list[TextInChunks]:
    """Return the texts of a call, each with its spans.

    Raises:
        InvalidInputError: If an option of the call is invalid.
    """
    if not isinstance(call, ChunksCall):
        message = (
            "the task 'embed_chunks' requires LLM.embed_chunks(texts, spans=...) or "
            "LLM.embed_chunks(texts, chunk_tokens=...)"
        )
        raise InvalidInputError(message, parameter="pooling_task")
    _check_method(call.method)
    _check_sizes(call)
    texts = split_prompts(call.texts)
    if call.spans is None:
        spans_by_text: Sequence[object] = [None] * len(texts)
    elif isinstance(call.texts, str | Mapping):
        spans_by_text = [call.spans]
    else:
        spans_by_text = _spans_by_text(call.spans, len(texts))
    return [
        TextInChunks(text, spans, call.chunk_tokens, call.overlap, call.method)
        for text, spans in zip(texts, spans_by_text, strict=True)
    ]


def read_cut(item: TextInChunks, text: str) -> Cut:
    """Return the chunks of a text.

    Raises:
        InvalidInputError: If a span is invalid; names the first one.
    """
    if item.spans is None:
        return Cut(None, _as_int(item.chunk_tokens), _as_int(item.overlap))
    spans = _listed(item.spans)
    if not spans:
        got = "an empty list" if spans == [] else repr(item.spans)
        message = f"spans must be a non-empty list of (start, stop), the characters of each chunk; got {got}"
        raise InvalidInputError(message, parameter="spans")
    return Cut(tuple(_read_span(number, span, len(text)) for number, span in enumerate(spans)), 0, 0)


def _check_method(method: object) -> None:
    if method not in METHODS:
        message = f"method={method!r}: expected one of {', '.join(map(repr, METHODS))}"
        raise InvalidInputError(message, parameter="method")


def _check_sizes(call: ChunksCall) -> None:
    if (call.spans is None) == (call.chunk_tokens is None):
        got = "neither" if call.spans is None else "both"
        message = (
            "embed_chunks takes spans=[(start, stop), ...], the characters of each chunk, or chunk_tokens=N, the "
            f"tokens of a chunk; got {got}"
        )
        raise InvalidInputError(message, parameter="spans" if call.spans is not None else "chunk_tokens")
    if call.chunk_tokens is not None and (not is_token_id(call.chunk_tokens) or _as_int(call.chunk_tokens) < 1):
        message = f"chunk_tokens={call.chunk_tokens!r}: expected a number of tokens of at least 1"
        raise InvalidInputError(message, parameter="chunk_tokens")
    max_overlap = 0 if call.chunk_tokens is None else _as_int(call.chunk_tokens) - 1
    if not is_token_id(call.overlap) or not 0 <= _as_int(call.overlap) <= max_overlap:
        allowed = "0, because spans determine the overlap" if call.chunk_tokens is None else f"from 0 to {max_overlap}"
        message = f"overlap={call.overlap!r}: expected a number of tokens, {allowed}"
        raise InvalidInputError(message, parameter="overlap")


def _spans_by_text(spans: object, count: int) -> list[object]:
    items = _listed(spans)
    if items is None or len(items) != count:
        got = type(spans).__name__ if items is None else f"{len(items)}"
        message = f"expected one list of (start, stop) for each text in spans: {count} texts, {got} lists"
        raise InvalidInputError(message, parameter="spans")
    return items


def _read_span(index: int, span: object, length: int) -> Span:
    ends = _listed(span)
    if ends is None or len(ends) != 2 or not all(map(is_token_id, ends)):  # noqa: PLR2004  start and stop
        message = f"spans[{index}] = {brief(span)}: expected (start, stop), two numbers of characters"
        raise InvalidInputError(message, parameter="spans")
    start, stop = map(_as_int, ends)
    if not 0 <= start < stop <= length:
        message = f"spans[{index}] = ({start}, {stop}): expected 0 <= start < stop <= {length}, the text's characters"
        raise InvalidInputError(message, parameter="spans")
    return start, stop


def _listed(value: object) -> list[object] | None:
    """Return the items of a list, tuple or array; None for other values."""
    check_ordered(value, "spans")
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0:
        return None
    return list(value)


def _as_int(value: object) -> int:
    return int(value)  # type: ignore[call-overload,no-any-return]  # checked by callers
