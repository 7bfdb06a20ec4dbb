"""The forms that the queries and the documents of a call may have, and their reduction to contents."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from millpond.types.errors import InvalidInputError
from millpond.types.prompts import Content, ImagePart, check_ordered
from millpond_io.images.parts import NO_IMAGE, read_part, texts_of

FORMS = (
    'a str, {"text": str}, {"content": str or [{"type": "text", "text": str}, ...]}, for models that read images '
    '{"image": ...} or such parts of a content too, or a list of these'
)
NO_QUERY = "At least one text element must be given"
NO_DOCUMENT = "At least one text_pair element must be given"
CARDINALITY = "Input lengths must be either 1:1, 1:N or N:N"


class ScoreInputs:
    """Reads the queries and the documents of calls.

    Attributes:
        architecture: The name of the model's architecture, for the error of what it cannot read.
        sees: Whether the model reads images.
    """

    def __init__(self, architecture: str, *, sees: bool = False) -> None:
        self.architecture = architecture
        self.sees = sees

    def read(self, queries: object, documents: object) -> tuple[list[Content], list[Content]]:
        """The contents of both sides: as many of one as of the other, or one query for all documents.

        Args:
            queries: One content, or a list.
            documents: One content, or a list.

        Raises:
            InvalidInputError: If one has another form, or their numbers do not fit.
        """
        left = self._contents(queries, "data_1", empty=NO_QUERY)
        right = self._contents(documents, "data_2", empty=NO_DOCUMENT)
        if len(left) not in (1, len(right)):
            message = f"{CARDINALITY}; got {len(left)}:{len(right)}"
            raise InvalidInputError(message, parameter="data_1")
        return left, right

    def _contents(self, side: object, parameter: str, *, empty: str) -> list[Content]:
        if isinstance(side, str | Mapping):
            return [self._content(side, parameter)]
        check_ordered(side, parameter)
        if not _is_list(side):
            message = f"expected {FORMS}; got {type(side).__name__}"
            raise InvalidInputError(message, parameter=parameter)
        contents = [self._content(item, parameter) for item in side]
        if not contents:
            raise InvalidInputError(empty, parameter=parameter)
        return contents

    def _content(self, item: object, parameter: str) -> Content:
        if isinstance(item, str):
            return str(item)
        if isinstance(item, Mapping):
            if isinstance(item.get("text"), str):
                return str(item["text"])
            content = item.get("content")
            if isinstance(content, str):
                return str(content)
            check_ordered(content, parameter)
            if _is_list(content) and not isinstance(content, Mapping):
                return self._of_parts(list(content), parameter)
            if content is None and item.get("image") is not None:
                return self._of_parts([{"type": "image_url", "image_url": item["image"]}], parameter)
            message = f"expected {FORMS}; got a dict with the keys {sorted(map(str, item))}"
            raise InvalidInputError(message, parameter=parameter)
        message = f"expected {FORMS}; got {type(item).__name__} in the list"
        raise InvalidInputError(message, parameter=parameter)

    def _of_parts(self, given: list[object], parameter: str) -> Content:
        """The parts of a content; texts alone as one text, a line each."""
        if not given:
            raise InvalidInputError(f"'content' is an empty list; expected {FORMS}", parameter=parameter)
        parts = tuple(self._part(part, parameter) for part in given)
        texts = texts_of(parts)
        return "\n".join(texts) if len(texts) == len(parts) else parts

    def _part(self, given: object, parameter: str) -> str | ImagePart:
        part = read_part(given)
        if isinstance(part, str):
            return part
        if not self.sees:
            message = f"MultiModalParam is not supported for {self.architecture}: its queries and documents are text"
            raise InvalidInputError(message, parameter=parameter)
        if part is None:
            message = f"{self.architecture} reads parts of the types text and image_url in a 'content'"
            raise InvalidInputError(message, parameter=parameter)
        if part.image is None:
            raise InvalidInputError(NO_IMAGE, parameter=parameter)
        return part


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Return whether the value contains others; an array without dimensions does not, though it has __iter__."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes | bytearray)
        and getattr(value, "ndim", 1) != 0
    )
