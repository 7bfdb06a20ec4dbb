"""From prompts to token ids: checks, tokenising many texts at once, truncation on request."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as brief

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.loading.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt, is_token_id
from millpond_io.images.texts import image_texts
from millpond_io.text.lengths import Lengths, most_characters
from millpond_io.text.padding import Padding, padding_of, padding_token

EMPTY = "the text is empty: pass at least one character, or leave the prompt out"
NO_TOKENS = "the text has no tokens: there is nothing to compute"
PLENTY = 2  # times as many tokens as are kept: so far from its cut, an excerpt's tokens are those of the whole text


@dataclass(frozen=True)
class Rendered:
    """The ids of a prompt, [num_tokens], and how many more there were (of long text: at least) before truncation.

    Attributes:
        features: What the model needs of the images in it.
    """

    input_ids: NDArray[np.int64]
    num_dropped_tokens: int = 0
    features: Mapping[str, object] = field(default_factory=dict)


class Renderer:
    """Turns prompts into the token ids of one model."""

    def __init__(self, ctx: TaskContext) -> None:
        self.ctx = ctx
        self.tokenizer = ctx.tokenizer
        self.lengths = Lengths(ctx)
        self.padding = padding_of(ctx)
        self.images = image_texts(ctx)
        self.modalities = ctx.model.multimodal.modalities
        self.model = ctx.model.model
        vocab_size = ctx.config.get("vocab_size", ctx.config.of_text.get("vocab_size"))
        self.vocab_size: int | None = vocab_size if isinstance(vocab_size, int) else None
        tokens = 0 if self.tokenizer is None else self.tokenizer.backend.get_vocab_size(with_added_tokens=True)
        self.has_unknown_tokens = self.vocab_size is not None and tokens > self.vocab_size

    def check(self, prompt: Prompt) -> Prompt:
        """What can be said of a prompt before it is tokenised; its images are decoded.

        Raises:
            InvalidInputError: If it is not encodable, or its ids are none, or none of the vocabulary's.
        """
        if prompt.data is not None:
            message = "The 'data' field is only supported for the 'plugin' pooling task."
            raise InvalidInputError(message, parameter="data")
        if prompt.multi_modal_data is not None and self.images is not None:
            prompt = self.images.opened(prompt, prompt.multi_modal_data)
        elif prompt.multi_modal_data is not None:
            tasks = "the tasks 'embed' and 'token_embed' read images too, and this call"
            who = f"the model {self.model!r}" if self.modalities == ("text",) else f"of {self.model!r}, {tasks}"
            message = f"{who} reads text alone, and the prompt has 'multi_modal_data'"
            raise InvalidInputError(message, parameter="multi_modal_data")
        if prompt.text is not None:
            self._check_text(prompt.text)
        elif prompt.token_ids is not None:
            self._check_ids(prompt.token_ids)
        return prompt

    def render(self, prompts: Sequence[tuple[Prompt, PoolingParams]]) -> list[Rendered | InvalidInputError]:
        """The ids of checked prompts; a prompt at fault costs no other."""
        found: list[Rendered | InvalidInputError | None] = [None] * len(prompts)
        texts: list[tuple[int, int | None]] = []  # the place of each, and how many tokens of it are kept
        for place, (prompt, params) in enumerate(prompts):
            try:
                if prompt.multi_modal_data is not None and self.images is not None:
                    read = self.images.read(prompt, params, self.lengths)
                    found[place] = Rendered(read.input_ids, features=read.features)
                elif prompt.token_ids is not None:
                    found[place] = self._cut(prompt.token_ids, params)
                else:
                    kept = self.lengths.kept(params)
                    if kept is None:
                        self.lengths.check_characters(prompt.text or "", params)
                    texts.append((place, kept))
            except InvalidInputError as error:
                found[place] = error
        self._render_texts(prompts, texts, found)
        return [item for item in found if item is not None]

    def _render_texts(
        self,
        prompts: Sequence[tuple[Prompt, PoolingParams]],
        texts: list[tuple[int, int | None]],
        found: list[Rendered | InvalidInputError | None],
    ) -> None:
        if not texts:
            return
        asked = [prompts[place] for place, _ in texts]
        excerpts = [
            _excerpt(prompt.text or "", kept, params) for (prompt, params), (_, kept) in zip(asked, texts, strict=True)
        ]
        for (place, kept), excerpt, ids in zip(texts, excerpts, self._encode_each(asked, excerpts), strict=True):
            try:
                found[place] = self._fit(prompts[place], excerpt, ids, kept)
            except InvalidInputError as error:
                found[place] = error

    def _encode_each(
        self, asked: Sequence[tuple[Prompt, PoolingParams]], excerpts: list[str]
    ) -> list[list[int] | InvalidInputError]:
        """The ids of each excerpt, with special tokens or without, as its prompt says."""
        if all(prompt.add_special_tokens for prompt, _ in asked):
            return self._encode(excerpts)
        found: dict[int, list[int] | InvalidInputError] = {}
        for special in (True, False):
            places = [place for place, (prompt, _) in enumerate(asked) if prompt.add_special_tokens is special]
            encoded = self._encode([excerpts[place] for place in places], special=special)
            found.update(zip(places, encoded, strict=True))
        return [found[place] for place in range(len(asked))]

    def _encode(self, texts: list[str], *, special: bool = True) -> list[list[int] | InvalidInputError]:
        """The ids of each text; one that the tokenizer fails on costs no other."""
        try:
            return [encoding.ids for encoding in self._tokenizer().encode_batch(texts, add_special_tokens=special)]
        except Exception as error:  # noqa: BLE001  the tokenizers library raises Exception itself
            if len(texts) > 1:
                return [ids for text in texts for ids in self._encode([text], special=special)]
            return [self._failure(error)]

    def encode_with_offsets(self, text: str, *, special: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of a checked text, and the characters that each stands for: from one up to another.

        Raises:
            InvalidInputError: If it cannot be tokenised, or holds what the model does not know.
        """
        tokenizer = self._tokenizer()
        try:
            encoding = tokenizer.backend.encode(text, add_special_tokens=special)
        except Exception as error:  # the tokenizers library raises Exception itself
            raise self._failure(error) from error
        if self.has_unknown_tokens:
            self._check_known(encoding.ids)
        if self.images is not None:
            self.images.check_ids(np.asarray(encoding.ids, dtype=np.int64))
        return encoding.ids, encoding.offsets

    def _failure(self, error: Exception) -> InvalidInputError:
        return InvalidInputError(f"the tokenizer of {self.model!r} fails on the text: {error}", parameter="prompts")

    def _fit(
        self,
        asked: tuple[Prompt, PoolingParams],
        excerpt: str,
        ids: list[int] | InvalidInputError,
        limit: int | None,
    ) -> Rendered:
        prompt, params = asked
        text, special = prompt.text or "", prompt.add_special_tokens
        while limit is not None and not isinstance(ids, InvalidInputError):
            if len(excerpt) == len(text) or len(ids) >= PLENTY * limit:
                break
            excerpt = _excerpt(text, limit, params, least=4 * len(excerpt))
            (ids,) = self._encode([excerpt], special=special)
        if isinstance(ids, InvalidInputError):
            raise ids
        if not ids:
            raise InvalidInputError(NO_TOKENS if text else EMPTY, parameter="prompts")
        if self.has_unknown_tokens:
            self._check_known(ids)
        if self.images is not None:
            self.images.check_ids(np.asarray(ids))
        if limit is not None and len(ids) > limit:
            side = params.truncation_side or "right"
            kept = self._tokenizer().encode_truncated(excerpt, limit, side=side, add_special_tokens=special)
            if prompt.ending:
                kept[-len(prompt.ending) :] = prompt.ending[-len(kept) :]
            return Rendered(self.filled(np.asarray(kept, dtype=np.int64), params), len(ids) - len(kept))
        self.lengths.check_tokens(len(ids), params)
        return Rendered(self.filled(np.asarray(ids, dtype=np.int64), params))

    def _cut(self, ids: Iterable[object], params: PoolingParams) -> Rendered:
        limit = self.lengths.kept(params, is_text=False)
        array = np.asarray(ids, dtype=np.int64)
        if self.images is not None:
            self.images.check_ids(array)
        if limit is not None and len(array) > limit:
            kept = array[-limit:] if params.truncation_side == "left" else array[:limit]
            return Rendered(self.filled(kept.copy(), params), len(array) - limit)
        self.lengths.check_tokens(len(array), params)
        return Rendered(self.filled(array, params))

    def filled(self, ids: NDArray[np.int64], params: PoolingParams) -> NDArray[np.int64]:
        """Return the ids with the padding that is asked for, or that the model was trained with.

        Raises:
            InvalidInputError: If the padding is longer than the model reads, or no file names its token.
        """
        asked = params.pad_prompt_tokens
        if asked is None:
            return ids if self.padding is None else self.padding(ids)
        return ids if asked == 0 else self._padding(self.lengths.padded(asked))(ids)

    def _padding(self, length: int) -> Padding:
        token = padding_token(self.ctx)
        if token is None:
            message = f"pad_prompt_tokens={length}: no file of {self.model!r} names its padding token"
            raise InvalidInputError(message, parameter="pad_prompt_tokens")
        return Padding(length=length, token=token, side="right")

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            message = (
                f"the model {self.model!r} has no tokenizer: its folder holds none (tokenizer.json, vocab.txt ...), or "
                "it was loaded with skip_tokenizer_init=True. Pass token ids, or load it with its tokenizer"
            )
            raise InvalidInputError(message, parameter="prompts")
        return self.tokenizer

    def _check_text(self, text: str) -> None:
        self._tokenizer()
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = (
                f"the text has a lone surrogate, {text[error.start]!a}, at character {error.start}, which is no "
                "Unicode text: decode the source as UTF-8, or replace it by text.encode('utf-8', 'replace').decode()"
            )
            raise InvalidInputError(message, parameter="prompts") from None

    def _check_ids(self, ids: tuple[object, ...]) -> None:
        if not ids:
            message = "the list of token ids is empty: pass at least one id"
            raise InvalidInputError(message, parameter="prompt_token_ids")
        for place, value in enumerate(ids):
            if not is_token_id(value):
                message = f"token ids must be integers; number {place} is {brief(value)} ({type(value).__name__})"
                raise InvalidInputError(message, parameter="prompt_token_ids")
        numbers = [int(value) for value in ids]  # type: ignore[call-overload]  # checked one by one above
        lowest, highest = min(numbers), max(numbers)
        if lowest < 0 or (self.vocab_size is not None and highest >= self.vocab_size):
            bad = lowest if lowest < 0 else highest
            end = "" if self.vocab_size is None else f" to {self.vocab_size - 1}"
            message = f"Token id {bad} is out of vocabulary: ids go from 0{end}"
            raise InvalidInputError(message, parameter="prompt_token_ids")
        if highest > np.iinfo(np.int64).max:
            message = f"token id {highest} is too large"
            raise InvalidInputError(message, parameter="prompt_token_ids")

    def _check_known(self, ids: list[int]) -> None:
        highest = max(ids)
        if self.vocab_size is not None and highest >= self.vocab_size:
            token = self._tokenizer().decode([highest])
            message = (
                f"the text holds {token!r}, which has the id {highest}, and {self.model!r} knows ids "
                f"to {self.vocab_size - 1} alone: its tokenizer and its weights are not of one model"
            )
            raise InvalidInputError(message, parameter="prompts")


def _excerpt(text: str, limit: int | None, params: PoolingParams, least: int = 0) -> str:
    """As much of a text as its kept tokens can need, so that a text of any size costs no more than that."""
    most = len(text) if limit is None else max(most_characters(limit), least)
    return text[-most:] if params.truncation_side == "left" else text[:most]
