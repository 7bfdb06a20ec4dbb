"""Pairs with images in them, as a cross-encoder reads them: written by its template, with something for each image."""

from collections.abc import Sequence
from dataclasses import dataclass

from millpond.pipeline.image_reader import ImageReader
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import Content, ImagePart, PairItem, Prompt
from millpond_io.images.parts import Parts, has_placeholders, images_of, in_lines, texts_of, truncate
from millpond_io.scoring.written_pairs import WrittenPairs
from millpond_io.text.prompt_tokenizer import PromptTokenizer, TokenizedPrompt

PRIVATE = range(0xE000, 0xF8FF)  # characters that mean nothing to anybody
LEFT_OUT = "the template leaves an image of the pair out, or writes it twice: it must write both contents once"


@dataclass(frozen=True)
class Stand:
    """What stands for an image until a template has written the pair, and so decided which image comes first.

    Attributes:
        text: It.
        image: The image.
        own: What the caller wrote for the image; None if nothing.
    """

    text: str
    image: object
    own: str | None = None


class PairImages:
    """Reads pairs with images."""

    def __init__(self, prompt_tokenizer: PromptTokenizer, reader: ImageReader) -> None:
        self.prompt_tokenizer = prompt_tokenizer
        self.reader = reader

    def read(self, pair: PairItem, encoder: WrittenPairs, params: PoolingParams) -> TokenizedPrompt:
        """The tokens and features of a pair.

        Args:
            pair: The pair.
            encoder: How its template is filled, and what is kept of its texts.
            params: What is asked of it.

        Raises:
            InvalidInputError: If the template leaves an image out, an image cannot be read, or the pair is too long.
        """
        query, first = cut_to(encoder, pair.query or "", encoder.limits.query)
        document, second = cut_to(encoder, pair.document or "", encoder.limits.document)
        both = [(content,) if isinstance(content, str) else content for content in (query, document)]
        before = self.reader.images_first and not any(has_placeholders(parts, self.reader) for parts in both)
        text, images = (self._before if before else self._among)(encoder, both)
        given = {"image": images}
        prompt = Prompt(text=text, multi_modal_data=given, add_special_tokens=encoder.adds_special(text))
        (rendered,) = self.prompt_tokenizer.tokenize([(self.prompt_tokenizer.check(prompt), params)])
        if isinstance(rendered, InvalidInputError):
            raise rendered
        return TokenizedPrompt(rendered.input_ids, rendered.num_dropped_tokens + first + second, rendered.features)

    def _before(self, encoder: WrittenPairs, both: Sequence[Parts]) -> tuple[str, list[object]]:
        """The text of a pair with its images before all of it, and these in order."""
        query, document = (in_lines(texts_of(parts)) for parts in both)
        images = [image for parts in both for image in images_of(parts)]
        return self.reader.marked("".join(encoder.write(query, document)), len(images)), images

    def _among(self, encoder: WrittenPairs, both: Sequence[Parts]) -> tuple[str, list[object]]:
        """The text of a pair with its images where they stand among its texts, and these in the order of the text."""
        text, stands = self._filled(encoder, both)
        for number, stand in enumerate(stands, start=1):
            text = text.replace(stand.text, stand.own or self.reader.placeholder(number))
        return text, [stand.image for stand in stands]

    def _filled(self, encoder: WrittenPairs, both: Sequence[Parts]) -> tuple[str, list[Stand]]:
        """The text of a pair, and what stands in it for images, in the order of the text."""
        said = "".join(part for parts in both for part in parts if isinstance(part, str))
        around = [chr(number) for number in PRIVATE if chr(number) not in said][:2]
        if len(around) < 2:  # noqa: PLR2004  one before and one behind
            raise InvalidInputError("the pair has too many characters for private use", parameter="data_2")
        stands: list[Stand] = []
        first, second = (self._written(parts, stands, around) for parts in both)
        text = "".join(encoder.write(first, second))
        if any(text.count(stand.text) != 1 for stand in stands):
            raise InvalidInputError(LEFT_OUT, parameter="chat_template")
        return text, sorted(stands, key=lambda stand: text.index(stand.text))

    def _written(self, parts: Sequence[str | ImagePart], stands: list[Stand], around: Sequence[str]) -> str:
        """Parts as one text, a line each, with a stand for each image, where the caller wrote something for it too."""

        def stand(image: object, own: str | None = None) -> str:
            stands.append(Stand(f"{around[0]}{len(stands)}{around[1]}", image, own))
            return stands[-1].text

        if not has_placeholders(parts, self.reader):
            return in_lines(part if isinstance(part, str) else stand(part.image) for part in parts)
        images = iter(part.image for part in parts if isinstance(part, ImagePart))
        return in_lines(
            self.reader.mark.sub(lambda found: stand(next(images), found.group()), part)
            for part in parts
            if isinstance(part, str)
        )


def cut_to(encoder: WrittenPairs, content: Content, most: int) -> tuple[Content, int]:
    """A content with so many tokens of its texts, or all if that is 0; and how many were cut off."""
    return truncate(encoder.tokenizer, content, most) if most else (content, 0)
