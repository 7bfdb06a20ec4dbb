"""PairImages: pairs with images for cross-encoders, rendered with a template and a placeholder for each image."""

from collections.abc import Sequence
from dataclasses import dataclass

from millpond.engine.request import PoolingRequest
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import Content, ImagePart, PairItem
from millpond_io.images.parts import Parts, has_placeholders, images_of, in_lines, texts_of, truncate
from millpond_io.scoring.rendered_pairs import RenderedPairs
from millpond_io.text.prompt_tokenizer import PromptTokenizer
from millpond_modeling.images import ImageReader
from millpond_text.prompt import Prompt

PRIVATE_USE_AREA = range(0xE000, 0xF8FF)  # Unicode characters without a meaning
MISSING_CONTENT = "the template must write the contents of the query and of the document exactly once"


@dataclass(frozen=True)
class ImageMarker:
    """A temporary text for an image, until the template has determined the order of images.

    Attributes:
        text: The text.
        image: The image.
        placeholder: The placeholder of the caller, or None.
    """

    text: str
    image: object
    placeholder: str | None = None


class PairImages:
    """Encodes pairs with images."""

    def __init__(self, prompt_tokenizer: PromptTokenizer, reader: ImageReader) -> None:
        self.prompt_tokenizer = prompt_tokenizer
        self.reader = reader

    def read(self, pair: PairItem, encoder: RenderedPairs, params: PoolingParams) -> PoolingRequest:
        """Return the sequence of a pair, without representations.

        Args:
            pair: The pair.
            encoder: The encoder, with the template and the limits.
            params: The parameters of the call.

        Raises:
            InvalidInputError: If the template does not write an image, an image cannot be read, or the pair is too
                long.
        """
        query, query_dropped = _truncated(encoder, pair.query or "", encoder.limits.query)
        document, document_dropped = _truncated(encoder, pair.document or "", encoder.limits.document)
        contents = [(content,) if isinstance(content, str) else content for content in (query, document)]
        is_marked = any(has_placeholders(parts, self.reader) for parts in contents)
        if encoder.render_parts is not None:
            text, images = encoder.render_parts(*contents)
        else:
            render = self._images_first if self.reader.images_first and not is_marked else self._images_in_text
            text, images = render(encoder, contents)
        prompt = Prompt(text=text, multi_modal_data={"image": images}, add_special_tokens=encoder.adds_special(text))
        (rendered,) = self.prompt_tokenizer.tokenize([self.prompt_tokenizer.check(prompt)], params)
        if isinstance(rendered, InvalidInputError):
            raise rendered
        rendered.num_dropped_tokens += query_dropped + document_dropped
        return rendered

    def _images_first(self, encoder: RenderedPairs, contents: Sequence[Parts]) -> tuple[str, list[object]]:
        """Return the text of a pair with all placeholders before it, and the images in order."""
        query, document = (in_lines(texts_of(parts)) for parts in contents)
        images = [image for parts in contents for image in images_of(parts)]
        return self.reader.marked("".join(encoder.render(query, document)), len(images)), images

    def _images_in_text(self, encoder: RenderedPairs, contents: Sequence[Parts]) -> tuple[str, list[object]]:
        """Return the text of a pair with placeholders at the positions of images, and the images in this order."""
        text, markers = self._with_markers(encoder, contents)
        for number, marker in enumerate(markers, start=1):
            text = text.replace(marker.text, marker.placeholder or self.reader.placeholder(number))
        return text, [marker.image for marker in markers]

    def _with_markers(self, encoder: RenderedPairs, contents: Sequence[Parts]) -> tuple[str, list[ImageMarker]]:
        """Return the text of a pair with markers, and the markers in the order of the text."""
        texts = "".join(part for parts in contents for part in parts if isinstance(part, str))
        delimiters = [chr(code) for code in PRIVATE_USE_AREA if chr(code) not in texts][:2]
        if len(delimiters) < 2:  # noqa: PLR2004  one before and one after the number of an image
            raise InvalidInputError("the pair has too many characters for private use", parameter="data_2")
        markers: list[ImageMarker] = []
        query, document = (self._marked(parts, markers, delimiters) for parts in contents)
        text = "".join(encoder.render(query, document))
        if any(text.count(marker.text) != 1 for marker in markers):
            raise InvalidInputError(MISSING_CONTENT, parameter="chat_template")
        return text, sorted(markers, key=lambda marker: text.index(marker.text))

    def _marked(self, parts: Sequence[str | ImagePart], markers: list[ImageMarker], delimiters: Sequence[str]) -> str:
        """Return parts as one text, with a marker for each image or placeholder of the caller."""

        def add_marker(image: object, placeholder: str | None = None) -> str:
            markers.append(ImageMarker(f"{delimiters[0]}{len(markers)}{delimiters[1]}", image, placeholder))
            return markers[-1].text

        if not has_placeholders(parts, self.reader):
            return "".join(part if isinstance(part, str) else add_marker(part.image) for part in parts)
        images = iter(part.image for part in parts if isinstance(part, ImagePart))
        return "".join(
            self.reader.mark.sub(lambda match: add_marker(next(images), match.group()), part)
            for part in parts
            if isinstance(part, str)
        )


def _truncated(encoder: RenderedPairs, content: Content, limit: int) -> tuple[Content, int]:
    """Return the truncated content, and the number of removed tokens; a limit of 0 means no truncation."""
    return truncate(encoder.tokenizer, content, limit) if limit else (content, 0)
