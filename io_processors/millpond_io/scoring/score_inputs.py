"""ScoreInputs: validation of the queries and documents of a call."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from millpond.types.errors import InvalidInputError
from millpond.types.prompts import Content, ImagePart, check_ordered
from millpond_io.images.parts import NO_IMAGE, read_part, texts_of

ACCEPTED_TYPES = (
    'a str, {"text": str}, {"content": str or [{"type": "text", "text": str}, ...]}, or a list of these; for models '
    'that read images also {"image": ...}, with or without a "text", and image parts in a content'
)
CONTENT_ALONE = (
    "a 'content' holds all parts of a query or document: put the text and the image into it as parts, or pass 'text' "
    "and 'image' without it"
)
NO_QUERY = "At least one text element must be given"
NO_DOCUMENT = "At least one text_pair element must be given"
CARDINALITY = "Input lengths must be either 1:1, 1:N or N:N"


class ScoreInputs:
    """Validates the queries and documents of calls.

    Attributes:
        architecture: The name of the model's architecture, for errors.
        reads_images: True if the model reads images.
        separator: The text between the texts of a content without images.
    """

    def __init__(self, architecture: str, *, reads_images: bool = False, separator: str = "\n") -> None:
        self.architecture = architecture
        self.reads_images = reads_images
        self.separator = separator

    def read(self, queries: object, documents: object) -> tuple[list[Content], list[Content]]:
        """Return the contents of queries and documents: the same number of both, or one query.

        Args:
            queries: One content, or a list.
            documents: One content, or a list.

        Raises:
            InvalidInputError: If a content has the wrong type, or the numbers do not match.
        """
        query_contents = self._contents(queries, "data_1", empty=NO_QUERY)
        document_contents = self._contents(documents, "data_2", empty=NO_DOCUMENT)
        if len(query_contents) not in (1, len(document_contents)):
            message = f"{CARDINALITY}; got {len(query_contents)}:{len(document_contents)}"
            raise InvalidInputError(message, parameter="data_1")
        return query_contents, document_contents

    def _contents(self, value: object, parameter: str, *, empty: str) -> list[Content]:
        if isinstance(value, str | Mapping):
            return [self._content(value, parameter)]
        check_ordered(value, parameter)
        if not _is_list(value):
            message = f"expected {ACCEPTED_TYPES}; got {type(value).__name__}"
            raise InvalidInputError(message, parameter=parameter)
        contents = [self._content(item, parameter) for item in value]
        if not contents:
            raise InvalidInputError(empty, parameter=parameter)
        return contents

    def _content(self, item: object, parameter: str) -> Content:
        if isinstance(item, str):
            return str(item)
        if isinstance(item, Mapping):
            return self._of_fields(item, parameter)
        message = f"expected {ACCEPTED_TYPES}; got {type(item).__name__} in the list"
        raise InvalidInputError(message, parameter=parameter)

    def _of_fields(self, item: Mapping[str, object], parameter: str) -> Content:
        """Return the content of an object: its text, its image, both with the image first, or its ``content``."""
        text, image, content = item.get("text"), item.get("image"), item.get("content")
        if content is not None and (text is not None or image is not None):
            raise InvalidInputError(CONTENT_ALONE, parameter=parameter)
        if isinstance(content, str):
            return str(content)
        check_ordered(content, parameter)
        if _is_list(content) and not isinstance(content, Mapping):
            return self._of_parts(list(content), parameter)
        if image is not None and (text is None or isinstance(text, str)):
            texts = [{"type": "text", "text": text}] if text else []
            return self._of_parts([{"type": "image_url", "image_url": image}, *texts], parameter)
        if isinstance(text, str):
            return str(text)
        message = f"expected {ACCEPTED_TYPES}; got a dict with the keys {sorted(map(str, item))}"
        raise InvalidInputError(message, parameter=parameter)

    def _of_parts(self, records: list[object], parameter: str) -> Content:
        """Return the parts of a content; a content with only texts becomes one text."""
        if not records:
            raise InvalidInputError(f"'content' is an empty list; expected {ACCEPTED_TYPES}", parameter=parameter)
        parts = tuple(self._part(record, parameter) for record in records)
        texts = texts_of(parts)
        return self.separator.join(texts) if len(texts) == len(parts) else parts

    def _part(self, record: object, parameter: str) -> str | ImagePart:
        part = read_part(record)
        if isinstance(part, str):
            return part
        if not self.reads_images:
            message = f"MultiModalParam is not supported for {self.architecture}: its queries and documents are text"
            raise InvalidInputError(message, parameter=parameter)
        if part is None:
            message = f"{self.architecture} only supports parts of types text and image_url in a 'content'"
            raise InvalidInputError(message, parameter=parameter)
        if part.image is None:
            raise InvalidInputError(NO_IMAGE, parameter=parameter)
        return part


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Return True if the value contains other values; a zero-dimensional array does not, although it has __iter__."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes | bytearray)
        and getattr(value, "ndim", 1) != 0
    )
