"""How a call of ``LLM.embed_chunks`` says to cut its texts: checks, and one item a text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as brief

from millpond.types.errors import InvalidInputError
from millpond.types.prompts import ChunksCall, TextInChunks, check_ordered, is_token_id, split_prompts

METHODS = ("late", "naive")
Span = tuple[int, int]
ENDS = 2  # of a span


@dataclass(frozen=True)
class Cut:
    """How one text is cut: by ``spans`` of characters, or into chunks of ``size`` tokens that share ``overlap``."""

    spans: tuple[Span, ...] | None
    size: int
    overlap: int


def split_call(call: object) -> list[TextInChunks]:
    """The texts of a call, each with the spans that are its own.

    Raises:
        InvalidInputError: If what the call says of all its texts does not fit.
    """
    if not isinstance(call, ChunksCall):
        message = (
            "the task 'embed_chunks' is asked for by LLM.embed_chunks(texts, spans=...) or (texts, chunk_tokens=...)"
        )
        raise InvalidInputError(message, parameter="pooling_task")
    _check_method(call.method)
    _check_sizes(call)
    texts = split_prompts(call.texts)
    if call.spans is None:
        each: Sequence[object] = [None] * len(texts)
    elif isinstance(call.texts, str | Mapping):
        each = [call.spans]
    else:
        each = _spans_of_each(call.spans, len(texts))
    return [
        TextInChunks(text, spans, call.chunk_tokens, call.overlap, call.method)
        for text, spans in zip(texts, each, strict=True)
    ]


def read_cut(item: TextInChunks, text: str) -> Cut:
    """How a text is cut.

    Raises:
        InvalidInputError: If its spans are no spans of it; names the first that is none.
    """
    if item.spans is None:
        return Cut(None, _as_int(item.chunk_tokens), _as_int(item.overlap))
    spans = _listed(item.spans)
    if not spans:
        message = "spans are a list of (start, stop), the characters of each chunk, and at least one; got " + (
            "an empty list" if spans == [] else repr(item.spans)
        )
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
        message = f"chunk_tokens={call.chunk_tokens!r}: expected a number of tokens from 1 on"
        raise InvalidInputError(message, parameter="chunk_tokens")
    most = 0 if call.chunk_tokens is None else _as_int(call.chunk_tokens) - 1
    if not is_token_id(call.overlap) or not 0 <= _as_int(call.overlap) <= most:
        allowed = "0, as spans say what overlaps" if call.chunk_tokens is None else f"from 0 to {most}"
        message = f"overlap={call.overlap!r}: expected a number of tokens, {allowed}"
        raise InvalidInputError(message, parameter="overlap")


def _spans_of_each(spans: object, count: int) -> list[object]:
    each = _listed(spans)
    if each is None or len(each) != count:
        got = type(spans).__name__ if each is None else f"{len(each)}"
        message = f"spans of several texts are a list with one list of (start, stop) a text: {count} texts, {got} lists"
        raise InvalidInputError(message, parameter="spans")
    return each


def _read_span(number: int, span: object, length: int) -> Span:
    ends = _listed(span)
    if ends is None or len(ends) != ENDS or not all(map(is_token_id, ends)):
        message = f"spans[{number}] = {brief(span)}: expected (start, stop), two numbers of characters"
        raise InvalidInputError(message, parameter="spans")
    start, stop = map(_as_int, ends)
    if not 0 <= start < stop <= length:
        message = f"spans[{number}] = ({start}, {stop}): expected 0 <= start < stop <= {length}, the text's characters"
        raise InvalidInputError(message, parameter="spans")
    return start, stop


def _listed(value: object) -> list[object] | None:
    """The items of a list, tuple or array; None if the value is none of them."""
    check_ordered(value, "spans")
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0:
        return None
    return list(value)


def _as_int(value: object) -> int:
    return int(value)  # type: ignore[call-overload,no-any-return]  # checked to be one
