"""From prompts to token ids: checks, tokenising many texts at once, truncation on request, limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millpond.context import Context
from millpond.errors import InvalidInputError
from millpond.inputs import Prompt, is_token_id
from millpond.loading.tokenizer import Tokenizer
from millpond.params import PoolingParams

CHARACTERS_PER_TOKEN = 64  # a text with more characters a token than this is no text: refused before it costs time
FEWEST_CHARACTERS = 32_768


@dataclass(frozen=True)
class Rendered:
    """The ids of a prompt, [num_tokens], and how many more there were before truncation."""

    input_ids: NDArray[np.int64]
    num_dropped_tokens: int = 0


class Renderer:
    """Turns prompts into the token ids of one model."""

    def __init__(self, ctx: Context) -> None:
        self.tokenizer = ctx.tokenizer
        self.max_model_len = ctx.model.max_model_len
        self.model = ctx.model.model
        vocab_size = ctx.config.get("vocab_size")
        self.vocab_size: int | None = vocab_size if isinstance(vocab_size, int) else None

    def check(self, prompt: Prompt) -> Prompt:
        """What can be said of a prompt before it is tokenised.

        Raises:
            InvalidInputError: If it is empty or not encodable, or its ids are none of the vocabulary's.
        """
        if prompt.data is not None:
            message = "The 'data' field is only supported for the 'plugin' pooling task."
            raise InvalidInputError(message, parameter="data")
        if prompt.multi_modal_data is not None:
            message = f"the model {self.model!r} reads text alone, and the prompt has 'multi_modal_data'"
            raise InvalidInputError(message, parameter="multi_modal_data")
        if prompt.text is not None:
            self._check_text(prompt.text)
        elif prompt.token_ids is not None:
            self._check_ids(prompt.token_ids)
        return prompt

    def render(self, prompts: Sequence[tuple[Prompt, PoolingParams]]) -> list[Rendered | InvalidInputError]:
        """The ids of checked prompts; a prompt at fault costs no other."""
        found: list[Rendered | InvalidInputError | None] = [None] * len(prompts)
        texts: list[int] = []
        for place, (prompt, params) in enumerate(prompts):
            try:
                limit = self._limit(params)
                if prompt.token_ids is not None:
                    found[place] = self._cut(prompt.token_ids, limit, params)
                else:
                    self._check_size(prompt.text or "", limit)
                    texts.append(place)
            except InvalidInputError as error:
                found[place] = error
        self._render_texts(prompts, texts, found)
        return [item for item in found if item is not None]

    def _render_texts(
        self,
        prompts: Sequence[tuple[Prompt, PoolingParams]],
        places: list[int],
        found: list[Rendered | InvalidInputError | None],
    ) -> None:
        if not places:
            return
        encodings = self._tokenizer().encode_batch([prompts[place][0].text or "" for place in places])
        for place, encoding in zip(places, encodings, strict=True):
            prompt, params = prompts[place]
            try:
                found[place] = self._fit(prompt.text or "", encoding.ids, self._limit(params), params)
            except InvalidInputError as error:
                found[place] = error

    def _fit(self, text: str, ids: list[int], limit: int | None, params: PoolingParams) -> Rendered:
        if not ids:
            message = "the text has no tokens: there is nothing to compute"
            raise InvalidInputError(message, parameter="prompts")
        if limit is not None and len(ids) > limit:
            kept = self._tokenizer().encode_truncated(text, limit, side=params.truncation_side or "right")
            return Rendered(np.asarray(kept, dtype=np.int64), len(ids) - len(kept))
        self._check_length(len(ids))
        return Rendered(np.asarray(ids, dtype=np.int64))

    def _cut(self, ids: Iterable[object], limit: int | None, params: PoolingParams) -> Rendered:
        array = np.asarray(ids, dtype=np.int64)
        if limit is not None and len(array) > limit:
            kept = array[-limit:] if params.truncation_side == "left" else array[:limit]
            return Rendered(kept.copy(), len(array) - limit)
        self._check_length(len(array))
        return Rendered(array)

    def _limit(self, params: PoolingParams) -> int | None:
        asked = params.truncate_prompt_tokens
        if asked is None:
            return None
        if asked == -1:
            return self.max_model_len
        least = 1 if self.tokenizer is None else self.tokenizer.num_special_tokens + 1
        if asked < least:
            message = f"truncate_prompt_tokens={asked} leaves an empty prompt: it must be -1 or from {least} on"
            raise InvalidInputError(message, parameter="truncate_prompt_tokens")
        if asked > self.max_model_len:
            message = (
                f"truncate_prompt_tokens value is greater than max_model_len ({asked} > {self.max_model_len}). "
                "Please request a smaller truncation size."
            )
            raise InvalidInputError(message, parameter="truncate_prompt_tokens")
        return asked

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            message = (
                f"the model {self.model!r} has no tokenizer (tokenizer.json, vocab.txt ...) in its folder: "
                "pass token ids, or add the file"
            )
            raise InvalidInputError(message, parameter="prompts")
        return self.tokenizer

    def _check_text(self, text: str) -> None:
        self._tokenizer()
        if not text:
            message = "the text is empty: pass at least one character, or leave the prompt out"
            raise InvalidInputError(message, parameter="prompts")
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
                message = f"token ids must be integers; number {place} is {value!r} ({type(value).__name__})"
                raise InvalidInputError(message, parameter="prompt_token_ids")
        numbers = [int(value) for value in ids]  # type: ignore[call-overload]  # checked one by one above
        lowest, highest = min(numbers), max(numbers)
        if lowest < 0 or (self.vocab_size is not None and highest >= self.vocab_size):
            bad = lowest if lowest < 0 else highest
            end = "" if self.vocab_size is None else f" to {self.vocab_size - 1}"
            message = f"token id {bad} is not in the vocabulary: ids go from 0{end}"
            raise InvalidInputError(message, parameter="prompt_token_ids")
        if highest > np.iinfo(np.int64).max:
            message = f"token id {highest} is too large"
            raise InvalidInputError(message, parameter="prompt_token_ids")

    def _check_size(self, text: str, limit: int | None) -> None:
        """Refuse a text that cannot fit before it is tokenised; one that is to be cut may be of any size."""
        most = max(CHARACTERS_PER_TOKEN * self.max_model_len, FEWEST_CHARACTERS)
        if limit is None and len(text) > most:
            message = (
                f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
                f"{len(text)} characters (more than {most} characters, which is the upper bound for "
                f"{self.max_model_len} input tokens). {WAY_OUT}"
            )
            raise InvalidInputError(message, parameter="prompts")

    def _check_length(self, num_tokens: int) -> None:
        if num_tokens > self.max_model_len:
            message = (
                f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
                f"{num_tokens} input tokens. {WAY_OUT}"
            )
            raise InvalidInputError(message, parameter="prompts")


WAY_OUT = "Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1."
