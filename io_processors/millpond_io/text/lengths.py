"""How long a prompt may be, and what becomes of one that is longer: refused, cut, or embedded in pieces."""

from millpond.context import TaskContext
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams

CHUNKED_TASK = "embed"  # the one task whose results of pieces can be merged
CONTEXT = "context"
CHARACTERS_PER_TOKEN = 64  # a text with more characters a token than this is no text: refused before it costs time
FEWEST_CHARACTERS = 32_768


class Lengths:
    """The limits of a task's prompts, in tokens.

    Attributes:
        max_model_len: The most that the model reads at once.
        max_embed_len: The most that a prompt to be embedded may have; None for no other limit than the model's.
        longest: The most of a prompt that is not cut into pieces.
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
        """What becomes of a prompt that is too long: as its parameters say, else as the model was loaded.

        Raises:
            InvalidInputError: If it is to be embedded in pieces, which the task has no use for.
        """
        if params.on_overflow == "chunk" and not self.chunks:
            message = (
                f"on_overflow='chunk' is for the task {CHUNKED_TASK!r} alone, whose vectors can be merged; for the "
                f"task {self.task!r} there are 'error' and 'truncate'"
            )
            raise InvalidInputError(message, parameter="on_overflow")
        return params.on_overflow or self.default

    def kept(self, params: PoolingParams, *, is_text: bool = True) -> int | None:
        """How many tokens are kept of a prompt, None for all; of a text, at least one beside the special tokens.

        Raises:
            InvalidInputError: If that would leave none, or is more than the model reads.
        """
        asked = params.truncate_prompt_tokens
        if asked is None and self.overflow(params) != "truncate":
            return None
        said = "on_overflow='truncate'" if asked is None else f"truncate_prompt_tokens={asked}"
        asked = -1 if asked is None else asked
        least = self.least if is_text else 1
        if (self.longest if asked == -1 else asked) < least:
            message = (
                f"{said} leaves an empty prompt: truncate_prompt_tokens must be -1 or from {least} on, "
                f"and max_model_len is {self.max_model_len}"
            )
            raise InvalidInputError(message, parameter=said.partition("=")[0])
        self.check_truncation(params)
        return self.longest if asked == -1 else asked

    def check_truncation(self, params: PoolingParams) -> None:
        """Refuse to keep more tokens than the model reads, in the words of vLLM.

        Raises:
            InvalidInputError: If that is asked for.
        """
        asked = params.truncate_prompt_tokens or 0
        if asked > self.max_model_len:
            message = (
                "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
            )
            raise InvalidInputError(message, parameter="truncate_prompt_tokens")
        if asked > self.longest:
            message = (
                f"truncate_prompt_tokens={asked} cannot be greater than max_embed_len = {self.longest}. Please request "
                "a smaller truncation size."
            )
            raise InvalidInputError(message, parameter="truncate_prompt_tokens")

    def padded(self, asked: int) -> int:
        """Return how many tokens a prompt is filled up to.

        Raises:
            InvalidInputError: If that is more than the model reads.
        """
        if asked > self.longest:
            message = f"pad_prompt_tokens={asked} is greater than the maximum length of {self.longest} tokens"
            raise InvalidInputError(message, parameter="pad_prompt_tokens")
        return self.longest if asked == -1 else asked

    def check_characters(self, text: str, params: PoolingParams) -> None:
        """Refuse a text of which all is to be kept, and which cannot fit, before it is tokenised."""
        limit = self._limit(params) if len(text) > FEWEST_CHARACTERS else None
        if limit is None or len(text) <= most_characters(limit):
            return
        most = most_characters(limit)
        message = (
            f"This model's maximum {self._name(limit, params)} length is {limit} tokens. However, your prompt contains "
            f"{len(text)} characters (more than {most} characters, which is the upper bound for {limit} input tokens). "
            f"{self._way_out(params)}"
        )
        raise InvalidInputError(message, parameter="prompts")

    def check_tokens(self, count: int, params: PoolingParams) -> None:
        """Refuse a prompt of too many tokens."""
        limit = self._limit(params) if count > self.longest else None
        if limit is None or count <= limit:
            return
        name = self._name(limit, params)
        asked = f"you requested {count} tokens in the input for embedding generation"
        held = f"your prompt contains {count} input tokens"
        message = (
            f"This model's maximum {name} length is {limit} tokens. However, {held if name == CONTEXT else asked}. "
            f"{self._way_out(params)}"
        )
        raise InvalidInputError(message, parameter="prompts")

    def _limit(self, params: PoolingParams) -> int | None:
        return self.max_embed_len if self.overflow(params) == "chunk" else self.longest

    def _name(self, limit: int, params: PoolingParams) -> str:
        is_models = limit == self.max_model_len and self.overflow(params) != "chunk"
        return CONTEXT if is_models else "embedding input"

    def _way_out(self, params: PoolingParams) -> str:
        shorter = "Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1"
        if not self.chunks or self.overflow(params) == "chunk" or self.max_embed_len is not None:
            return f"{shorter}."
        return f"{shorter}, or embed it in pieces with on_overflow='chunk'."


def most_characters(num_tokens: int) -> int:
    """The most characters of a text that may have so few tokens."""
    return max(CHARACTERS_PER_TOKEN * num_tokens, FEWEST_CHARACTERS)
