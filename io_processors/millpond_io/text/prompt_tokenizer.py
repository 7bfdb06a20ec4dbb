"""PromptTokenizer: from prompts to token ids: validation, batched tokenization, truncation and padding."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from reprlib import repr as brief
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import is_token_id
from millpond_io.images.texts import image_texts
from millpond_io.text.excerpts import GROWTH, Excerpt, cut_excerpt
from millpond_io.text.lengths import MIN_CHARS_LIMIT, Lengths
from millpond_io.text.padding import Padding, padding_of, padding_token
from millpond_text.prompt import Prompt

EMPTY = "the text is empty: pass at least one character, or leave the prompt out"
IDS = attrgetter("ids")  # from what the tokenizer returns for a text
NO_TOKENS = "the text has no tokens: there is nothing to compute"


class PromptTokenizer:
    """Converts prompts to the token ids of a model."""

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
        """Validate a prompt before it is tokenized; return it with its images opened.

        Raises:
            InvalidInputError: If its text cannot be encoded, or its token ids are empty or outside the vocabulary.
        """
        if prompt.multi_modal_data is not None:
            if self.images is None:
                raise self._images_refused()
            prompt = self.images.opened(prompt, prompt.multi_modal_data)
        if prompt.text is not None:
            if self.tokenizer is None:
                self._no_tokenizer()
            if not prompt.text.isascii():
                _check_unicode(prompt.text)
        elif prompt.token_ids is not None:
            self._check_ids(prompt.token_ids)
        return prompt

    def tokenize(self, prompts: Sequence[Prompt], params: PoolingParams) -> list[PoolingRequest | InvalidInputError]:
        """Return the sequences of checked prompts, without representations, or the error of each invalid one."""
        results: list[Any] = [None] * len(prompts)  # each is set below
        excerpts: dict[bool, list[str]] = {}  # by add_special_tokens
        texts: dict[bool, list[tuple[int, Excerpt, int | None]]] = {}  # with the index and the maximum number of tokens
        for index, prompt in enumerate(prompts):
            limited = params if prompt.max_tokens is None else _limited(params, prompt.max_tokens)
            try:
                if prompt.multi_modal_data is not None and self.images is not None:
                    with_images = self.images.read(prompt, limited, self.lengths)
                    results[index] = sequence_of(with_images.input_ids, features=with_images.features)
                elif prompt.token_ids is not None:
                    results[index] = self._truncated_ids(prompt.token_ids, limited)
                else:
                    excerpt, limit = self._excerpt_and_limit(prompt.text or "", limited)
                    excerpts.setdefault(prompt.add_special_tokens, []).append(excerpt.text)
                    texts.setdefault(prompt.add_special_tokens, []).append((index, excerpt, limit))
            except InvalidInputError as error:
                results[index] = error
        for special, group in excerpts.items():
            encoded = self._encode(group, special=special)
            for (index, excerpt, limit), ids in zip(texts[special], encoded, strict=True):
                try:
                    results[index] = self._truncated_text(prompts[index], params, excerpt, ids, limit)
                except InvalidInputError as error:
                    results[index] = error
        return results

    def _excerpt_and_limit(self, text: str, params: PoolingParams) -> tuple[Excerpt, int | None]:
        """Return the part of a text to tokenize, and the maximum number of its tokens; None without truncation."""
        limit = None
        if params.truncate_prompt_tokens is not None or params.on_overflow != "error":
            limit = self.lengths.kept(params)
        if limit is not None:
            return self._excerpt(text, limit, params), limit
        if len(text) > MIN_CHARS_LIMIT:
            self.lengths.check_characters(text, params)
        return Excerpt(text), None

    def encode_with_offsets(self, text: str, *, special: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a checked text, and the characters of each token as (start, stop).

        Raises:
            InvalidInputError: If it cannot be tokenized, or contains tokens that the model does not have.
        """
        tokenizer = self.tokenizer or self._no_tokenizer()
        try:
            encoding = tokenizer.backend.encode(text, add_special_tokens=special)
        except Exception as error:  # the tokenizers library raises Exception itself
            raise self._failure(error) from error
        if self.has_unknown_tokens:
            self._check_known(encoding.ids)
        if self.images is not None:
            self.images.check_ids(np.asarray(encoding.ids, dtype=np.int64))
        return encoding.ids, encoding.offsets

    def pad(self, ids: NDArray[np.int64], params: PoolingParams) -> NDArray[np.int64]:
        """Return the ids with the padding that the call specifies, or that the model requires.

        Raises:
            InvalidInputError: If the padding exceeds the model's maximum length, or no file names its token.
        """
        length = params.pad_prompt_tokens
        if length is None:
            return ids if self.padding is None else self.padding(ids)
        return ids if length == 0 else self._padding(self.lengths.padded(length))(ids)

    def _encode(self, texts: list[str], *, special: bool = True) -> list[list[int] | InvalidInputError]:
        """Return the ids of each text, or the error of each text that the tokenizer fails on."""
        tokenizer = self.tokenizer or self._no_tokenizer()
        try:
            return list(map(IDS, tokenizer.backend.encode_batch_fast(texts, add_special_tokens=special)))
        except Exception as error:  # noqa: BLE001  the tokenizers library raises Exception itself
            if len(texts) > 1:
                return [ids for text in texts for ids in self._encode([text], special=special)]
            return [self._failure(error)]

    def _failure(self, error: Exception) -> InvalidInputError:
        return InvalidInputError(f"the tokenizer of {self.model!r} fails on the text: {error}", parameter="prompts")

    def _truncated_text(
        self,
        prompt: Prompt,
        params: PoolingParams,
        excerpt: Excerpt,
        ids: list[int] | InvalidInputError,
        limit: int | None,
    ) -> PoolingRequest:
        """Return the sequence of a text, at most ``limit`` tokens; ``ids`` are those of its excerpt."""
        text, special = prompt.text or "", prompt.add_special_tokens
        if limit is not None and excerpt.min_tokens:
            excerpt, ids = self._extend_excerpt(prompt, params, excerpt, ids, limit)
        if isinstance(ids, InvalidInputError):
            raise ids
        if not ids:
            raise InvalidInputError(NO_TOKENS if text else EMPTY, parameter="prompts")
        if self.has_unknown_tokens:
            self._check_known(ids)
        if self.images is not None:
            self.images.check_ids(np.asarray(ids))
        total = len(ids)
        if limit is not None and total > limit:
            side = params.truncation_side or "right"
            tokenizer = self.tokenizer or self._no_tokenizer()
            ids = tokenizer.encode_truncated(excerpt.text, limit, side=side, add_special_tokens=special)
            if prompt.ending:
                ids[-len(prompt.ending) :] = prompt.ending[-len(ids) :]
        elif total > self.lengths.longest:
            self.lengths.check_tokens(total, params)
        array = np.asarray(ids, dtype=np.int64)
        if self.padding is not None or params.pad_prompt_tokens is not None:
            array = self.pad(array, params)
        return sequence_of(array, total - len(ids))

    def _extend_excerpt(
        self, prompt: Prompt, params: PoolingParams, excerpt: Excerpt, ids: list[int] | InvalidInputError, limit: int
    ) -> tuple[Excerpt, list[int] | InvalidInputError]:
        """Extend an excerpt until it has enough tokens; return it with its ids."""
        while not isinstance(ids, InvalidInputError) and len(ids) < excerpt.min_tokens:
            excerpt = self._excerpt(prompt.text or "", limit, params, min_chars=GROWTH * len(excerpt.text))
            (ids,) = self._encode([excerpt.text], special=prompt.add_special_tokens)
        return excerpt, ids

    def _excerpt(self, text: str, limit: int, params: PoolingParams, min_chars: int = 0) -> Excerpt:
        """Return a part of a text that contains the tokens to keep, so that the cost does not grow with the whole."""
        tokenizer = self.tokenizer or self._no_tokenizer()
        return cut_excerpt(tokenizer, text, limit, params.truncation_side or "right", min_chars)

    def _truncated_ids(self, ids: Iterable[object], params: PoolingParams) -> PoolingRequest:
        limit = self.lengths.kept(params, is_text=False)
        array = np.asarray(ids, dtype=np.int64)
        if self.images is not None:
            self.images.check_ids(array)
        if limit is not None and len(array) > limit:
            kept = array[-limit:] if params.truncation_side == "left" else array[:limit]
            return sequence_of(self.pad(kept.copy(), params), len(array) - limit)
        self.lengths.check_tokens(len(array), params)
        return sequence_of(self.pad(array, params))

    def _padding(self, length: int) -> Padding:
        token = padding_token(self.ctx)
        if token is None:
            message = f"pad_prompt_tokens={length}: no file of {self.model!r} names its padding token"
            raise InvalidInputError(message, parameter="pad_prompt_tokens")
        return Padding(length=length, token=token, side="right")

    def _no_tokenizer(self) -> Never:
        if "text" not in self.modalities:
            message = f"the model {self.model!r} reads {' and '.join(self.modalities)}, not text"
            raise InvalidInputError(message, parameter="prompts")
        message = (
            f"the model {self.model!r} has no tokenizer: its folder contains none (tokenizer.json, vocab.txt ...), or "
            "it was loaded with skip_tokenizer_init=True. Pass token ids, or load it with its tokenizer"
        )
        raise InvalidInputError(message, parameter="prompts")

    def _images_refused(self) -> InvalidInputError:
        tasks = "the tasks 'embed' and 'token_embed' also accept images, but this call"
        subject = f"the model {self.model!r}" if self.modalities == ("text",) else f"of {self.model!r}, {tasks}"
        message = f"{subject} accepts only text, and the prompt has 'multi_modal_data'"
        return InvalidInputError(message, parameter="multi_modal_data")

    def _check_ids(self, ids: tuple[object, ...]) -> None:
        if not ids:
            message = "the list of token ids is empty: pass at least one id"
            raise InvalidInputError(message, parameter="prompt_token_ids")
        for index, value in enumerate(ids):
            if not is_token_id(value):
                message = f"token ids must be integers; number {index} is {brief(value)} ({type(value).__name__})"
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
            token = (self.tokenizer or self._no_tokenizer()).decode([highest])
            message = (
                f"the text contains {token!r} with the id {highest}, but the vocabulary of {self.model!r} ends at "
                f"{self.vocab_size - 1}: its tokenizer and its weights do not belong together"
            )
            raise InvalidInputError(message, parameter="prompts")


def sequence_of(
    ids: NDArray[np.int64], num_dropped: int = 0, features: Mapping[str, object] | None = None
) -> PoolingRequest:
    """Return a sequence without representations; ``num_dropped`` tokens were removed by truncation."""
    return PoolingRequest(
        input_ids=ids, representations=(), num_dropped_tokens=num_dropped, features={} if features is None else features
    )


def _limited(params: PoolingParams, max_tokens: int) -> PoolingParams:
    """Return the parameters with another maximum number of tokens after truncation."""
    return params.model_copy(update={"truncate_prompt_tokens": max_tokens})


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = (
            f"the text has a lone surrogate, {text[error.start]!a}, at character {error.start}, and is not valid "
            "Unicode: decode the source as UTF-8, or replace it by text.encode('utf-8', 'replace').decode()"
        )
        raise InvalidInputError(message, parameter="prompts") from None
