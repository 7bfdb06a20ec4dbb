"""Limits on the length of prompts: longer ones are refused, truncated, or embedded in pieces."""

from millpond.context import TaskContext
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams

CHUNKED_TASK = "embed"  # the only task whose results for the pieces of a text can be merged
CONTEXT = "context"
MAX_CHARS_PER_TOKEN = 64  # a text with more characters per token is refused without tokenizing it
MIN_CHARS_LIMIT = 32_768


class Lengths:
    """The limits of a task's prompts, in tokens.

    Attributes:
        max_model_len: The maximum length of a sequence.
        max_embed_len: The maximum length of a prompt of the task ``embed``; None for no separate limit.
        longest: The maximum length of a prompt that is not split into pieces.
    """

    def __init__(self, ctx: TaskContext) -> None:
        config, default = ctx.pooler_config, ctx.inputs.on_overflow
        self.task = ctx.task
        self.chunks = ctx.task == CHUNKED_TASK
        self.max_model_len = ctx.model.max_model_len
        self.max_embed_len = config.max_embed_len if self.chunks else None
        self.longest = min(self.max_model_len, self.max_embed_len or self.max_model_len)
        self.least = 1 if ctx.tokenizer is None else ctx.tokenizer.num_special_tokens + 1
        if self.chunks:
            self.default = "chunk" if config.enable_chunked_processing and default == "error" else default
        else:
            self.default = "error" if default == "chunk" else default

    def overflow(self, params: PoolingParams) -> str:
        """Return how a prompt that is too long is handled: "error", "truncate" or "chunk".

        Raises:
            InvalidInputError: If the parameters specify "chunk" and the task does not support it.
        """
        if params.on_overflow == "chunk" and not self.chunks:
            message = (
                f"on_overflow='chunk' is only supported by the task {CHUNKED_TASK!r}, whose vectors can be merged; the "
                f"task {self.task!r} supports 'error' and 'truncate'"
            )
            raise InvalidInputError(message, parameter="on_overflow")
        return params.on_overflow or self.default

    def kept(self, params: PoolingParams, *, is_text: bool = True) -> int | None:
        """Return the maximum number of tokens after truncation; None without truncation.

        Raises:
            InvalidInputError: If truncation would leave no token (for a text, only special tokens), or if the number is
                larger than the maximum length.
        """
        num_tokens = params.truncate_prompt_tokens
        if num_tokens is None and (params.on_overflow or self.default) != "truncate":
            return None
        setting = "on_overflow='truncate'" if num_tokens is None else f"truncate_prompt_tokens={num_tokens}"
        num_tokens = -1 if num_tokens is None else num_tokens
        least = self.least if is_text else 1
        if (self.longest if num_tokens == -1 else num_tokens) < least:
            message = (
                f"{setting} leaves an empty prompt: truncate_prompt_tokens must be -1 or at least {least}, "
                f"and max_model_len is {self.max_model_len}"
            )
            raise InvalidInputError(message, parameter=setting.partition("=")[0])
        self.check_truncation(params)
        return self.longest if num_tokens == -1 else num_tokens

    def check_truncation(self, params: PoolingParams) -> None:
        """Check ``truncate_prompt_tokens``, with vLLM's messages.

        Raises:
            InvalidInputError: If it is larger than the maximum length.
        """
        num_tokens = params.truncate_prompt_tokens or 0
        if num_tokens > self.max_model_len:
            message = (
                "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
            )
            raise InvalidInputError(message, parameter="truncate_prompt_tokens")
        if num_tokens > self.longest:
            message = (
                f"truncate_prompt_tokens={num_tokens} cannot be greater than max_embed_len = {self.longest}. Please "
                "request a smaller truncation size."
            )
            raise InvalidInputError(message, parameter="truncate_prompt_tokens")

    def padded(self, num_tokens: int) -> int:
        """Return the length of padded prompts; -1 is the maximum length.

        Raises:
            InvalidInputError: If it is larger than the maximum length.
        """
        if num_tokens > self.longest:
            message = f"pad_prompt_tokens={num_tokens} is greater than the maximum length of {self.longest} tokens"
            raise InvalidInputError(message, parameter="pad_prompt_tokens")
        return self.longest if num_tokens == -1 else num_tokens

    def check_characters(self, text: str, params: PoolingParams) -> None:
        """Refuse a text without truncation that has too many characters, before it is tokenized."""
        limit = self._limit(params) if len(text) > MIN_CHARS_LIMIT else None
        if limit is None or len(text) <= max_characters(limit):
            return
        max_chars = max_characters(limit)
        message = (
            f"This model's maximum {self._name(limit, params)} length is {limit} tokens. However, your prompt contains "
            f"{len(text)} characters (more than {max_chars} characters, which is the upper bound for {limit} input "
            f"tokens). {self._advice(params)}"
        )
        raise InvalidInputError(message, parameter="prompts")

    def check_tokens(self, count: int, params: PoolingParams) -> None:
        """Refuse a prompt with too many tokens."""
        limit = self._limit(params) if count > self.longest else None
        if limit is None or count <= limit:
            return
        name = self._name(limit, params)
        embedding = f"you requested {count} tokens in the input for embedding generation"
        context = f"your prompt contains {count} input tokens"
        message = (
            f"This model's maximum {name} length is {limit} tokens. However, "
            f"{context if name == CONTEXT else embedding}. {self._advice(params)}"
        )
        raise InvalidInputError(message, parameter="prompts")

    def _limit(self, params: PoolingParams) -> int | None:
        return self.max_embed_len if self.overflow(params) == "chunk" else self.longest

    def _name(self, limit: int, params: PoolingParams) -> str:
        is_model_limit = limit == self.max_model_len and self.overflow(params) != "chunk"
        return CONTEXT if is_model_limit else "embedding input"

    def _advice(self, params: PoolingParams) -> str:
        shorter = "Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1"
        if not self.chunks or self.overflow(params) == "chunk" or self.max_embed_len is not None:
            return f"{shorter}."
        return f"{shorter}, or embed it in pieces with on_overflow='chunk'."


def max_characters(num_tokens: int) -> int:
    """Return the maximum number of characters that a text of N tokens may have."""
    return max(MAX_CHARS_PER_TOKEN * num_tokens, MIN_CHARS_LIMIT)
