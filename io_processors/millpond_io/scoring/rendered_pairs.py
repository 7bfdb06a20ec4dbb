"""RenderedPairs: pairs rendered as text by a template or by concatenation; the document of a long pair is truncated."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, TypeAlias

from millpond.model.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond_io.images.parts import Parts
from millpond_io.scoring.pair_encoder import EncodedPair, Ids, Limits, Pair, PairEncoder

Render: TypeAlias = Callable[[str, str], tuple[str, ...]]
RenderParts: TypeAlias = Callable[[Parts, Parts], tuple[str, list[object]]]
SpecialTokens: TypeAlias = Literal["none", "all", "once"]


class RenderedPairs(PairEncoder):
    """Renders a pair as segments of text, tokenizes each segment, and concatenates their tokens.

    Attributes:
        render: Returns the segments for a query and a document.
        special: The segments that get special tokens: "none", "all", or "once" for segments that do not start with the
            first special token.
        render_parts: Returns the text of contents with images, with a placeholder for each image, and the images in
            this order; None if the template does not write placeholders.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        limits: Limits,
        render: Render,
        *,
        special: SpecialTokens = "none",
        render_parts: RenderParts | None = None,
    ) -> None:
        super().__init__(tokenizer, limits)
        self.render = render
        self.special = special
        self.render_parts = render_parts

    @cached_property
    def first_token(self) -> str | None:
        """The text of the special token that the tokenizer adds at the start; None if it adds none."""
        (encoding,) = self.tokenizer.encode_batch([""])
        return self.tokenizer.decode(encoding.ids[:1]) if encoding.ids else None

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair | InvalidInputError]:
        """Encode all pairs at once; long pairs are truncated and encoded again, one by one."""
        rendered: list[tuple[str, ...] | InvalidInputError] = []
        for pair in pairs:
            try:
                rendered.append(self.render(*pair))
            except InvalidInputError as error:
                rendered.append(error)
        ids = self._ids({segment for segments in rendered if isinstance(segments, tuple) for segment in segments})
        results: list[EncodedPair | InvalidInputError] = []
        for pair, segments in zip(pairs, rendered, strict=True):
            if isinstance(segments, InvalidInputError):
                results.append(segments)
                continue
            try:
                results.append(self._fit(pair, _joined(ids, segments)))
            except InvalidInputError as error:
                results.append(error)
        return results

    def _fit(self, pair: Pair, ids: Ids) -> EncodedPair:
        """Return the ids of a pair, with its document truncated if necessary."""
        limit = self.limits.kept
        if limit is None or len(ids) <= limit:
            self.limits.check(len(ids))
            return EncodedPair(ids)
        query, document = pair
        (encoding,) = self.tokenizer.encode_batch([document], add_special_tokens=False)
        total, document_tokens, kept = len(ids), len(encoding), ids
        while len(kept) > limit:
            if document_tokens == 0:
                message = (
                    f"the query and its template have {len(kept)} tokens, and the limit is {limit}: no token of the "
                    "document is left. Truncate the query with max_tokens_per_query"
                )
                raise InvalidInputError(message, parameter="truncate_prompt_tokens")
            document_tokens = max(document_tokens - (len(kept) - limit), 0)
            document, _ = self.tokenizer.cut(document, document_tokens, side=self.limits.side)
            segments = self.render(query, document)
            kept = _joined(self._ids(set(segments)), segments)
        return EncodedPair(kept, num_dropped_tokens=total - len(kept))

    def _ids(self, texts: set[str]) -> dict[str, Ids]:
        """Return the ids of texts; segments that occur in several pairs are tokenized once."""
        ids: dict[str, Ids] = {}
        for special in (True, False):
            group = [text for text in texts if self.adds_special(text) is special]
            encodings = self.tokenizer.encode_batch(group, add_special_tokens=special) if group else []
            ids |= {text: encoding.ids for text, encoding in zip(group, encodings, strict=True)}
        return ids

    def adds_special(self, text: str) -> bool:
        """Return True if the tokenizer adds special tokens to a segment."""
        if self.special == "once":
            return self.first_token is not None and not text.startswith(self.first_token)
        return self.special == "all"


def _joined(ids: dict[str, Ids], segments: tuple[str, ...]) -> Ids:
    return [token_id for segment in segments for token_id in ids[segment]]
