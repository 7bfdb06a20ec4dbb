"""QueryMarkers: the step of late interaction, with markers, query expansion and skipped tokens."""

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.model.tokenizer import Tokenizer
from millpond.nn import NUM_ATTENDED
from millpond.pipeline.io_processor import Call
from millpond.types.errors import InvalidInputError
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig
from millpond.types.outputs import PoolingOutput
from millpond.types.params import PoolingParams
from millpond_io.retrieval.input_types import input_type
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt, TextJob


class Reader:
    """Encodes the queries, or the documents, of a model.

    A marker that is one token of the vocabulary is inserted as a token after the special tokens at the start, because a
    tokenizer might split it; any other marker is inserted as text.
    """

    def __init__(
        self, ctx: TaskContext, tokenizer: Tokenizer, config: QueryDocumentConfig, expansion: Expansion | None
    ) -> None:
        self.max_tokens = min(ctx.model.max_model_len, config.length or ctx.model.max_model_len)
        self.truncates = config.length is not None or (expansion is not None and expansion.cuts)
        self.expanded_length = 0 if expansion is None else min(ctx.model.max_model_len, expansion.length)
        if expansion is not None and expansion.cuts:
            self.max_tokens = self.expanded_length
        self.model = ctx.model.model
        self.marker, text = _marker(tokenizer, config.marker)
        self.prefix = text + config.prompt
        self.suffix_ids, self.closing_ids = _suffix(tokenizer, config.ending)
        self.adds_special_tokens = config.special_tokens
        added = tokenizer.backend.get_added_tokens_decoder()
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self.skipped = np.array(sorted(_token_ids(tokenizer, config.skipped)), dtype=np.int64)
        self.only = np.array(config.only, dtype=np.int64)
        self.expansion = expansion
        self.expansion_id = None if expansion is None else _expansion_id(ctx, tokenizer, expansion)

    @property
    def room(self) -> int:
        """The maximum number of tokens of a text and its special tokens, without the marker and the suffix."""
        return self.max_tokens - len(self.marker) - len(self.suffix_ids)

    def on_prompt(self, prompt: Prompt, params: PoolingParams) -> None:
        """Put the prefix before a text, and limit its tokens; prompts with images are not changed."""
        if prompt.multi_modal_data is not None:
            return
        if prompt.text is not None:
            prompt.text = self.prefix + prompt.text
            prompt.add_special_tokens = prompt.add_special_tokens and self.adds_special_tokens
        room, requested = self.room, params.truncate_prompt_tokens
        if self.truncates or requested is not None or params.on_overflow == "truncate":
            prompt.max_tokens = room if requested in (None, -1) else min(requested or room, room)

    def on_tokens(self, sequence: PoolingRequest) -> None:
        """Add the marker, the suffix and the expansion to the tokens of a text.

        Raises:
            InvalidInputError: If there are more tokens than the maximum.
        """
        ids = sequence.input_ids
        start = int(len(ids) > 0 and int(ids[0]) in self.special_ids)
        ids = np.concatenate([ids[:start], np.array(self.marker, dtype=np.int64), ids[start:]])
        if self.suffix_ids:
            ids = np.insert(ids, self._end(ids), self.suffix_ids)
        if len(ids) > self.max_tokens:
            message = (
                f"the prompt has {len(ids)} tokens with its marker and suffix; the maximum of {self.model!r} is "
                f"{self.max_tokens}. Truncate it with truncate_prompt_tokens=-1"
            )
            raise InvalidInputError(message, parameter="prompts")
        num_tokens = len(ids)
        if self.expansion is not None and num_tokens < self.expanded_length:
            ids = np.concatenate([ids, np.full(self.expanded_length - num_tokens, self.expansion_id, dtype=np.int64)])
            sequence.features = {} if self.expansion.attended else {NUM_ATTENDED: num_tokens}
        sequence.input_ids, sequence.num_tokens = ids, len(ids)

    def kept(self, ids: NDArray[np.int64], *, is_image: bool) -> NDArray[np.bool_] | None:
        """Return True for each token whose vector is returned, [num_tokens]; None for all.

        Args:
            ids: The token ids, [num_tokens].
            is_image: True for a prompt with images, in which no words are skipped.
        """
        if is_image and not len(self.only):
            return None
        return self._kept(ids)

    def _kept(self, ids: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return True for each token whose vector is returned, [num_tokens]; None for all."""
        if not len(self.skipped) and not len(self.only):
            return None
        kept = ~np.isin(ids, self.skipped)
        return kept & np.isin(ids, self.only) if len(self.only) else kept

    def _end(self, ids: NDArray[np.int64]) -> int:
        """Return the end of the text, before the special tokens that the tokenizer added after it."""
        num_closing = len(self.closing_ids)
        closes = num_closing > 0 and tuple(ids[-num_closing:].tolist()) == self.closing_ids
        return len(ids) - num_closing * closes


class QueryMarkers(TextStep):
    """Encodes the queries and documents of a model with late interaction.

    Attributes:
        readers: The encoding of each input type.
    """

    reads_input_type = True

    def __init__(self, ctx: TaskContext, tokenizer: Tokenizer, config: LateInteraction) -> None:
        super().__init__(ctx)
        self.readers = {
            "query": Reader(ctx, tokenizer, config.query, config.expansion),
            "document": Reader(ctx, tokenizer, config.document, None),
        }

    def on_prompt(self, prompt: Prompt, call: Call) -> None:
        """Put the prefix of the input type before a text."""
        kind = input_type(call.options)
        if kind is not None:
            self.readers[kind].on_prompt(prompt, call.params)

    def on_tokens(self, job: TextJob) -> None:
        """Add the tokens of the input type to a text."""
        kind = input_type(job.call.options)
        if kind is not None and job.prompt.multi_modal_data is None:
            self.readers[kind].on_tokens(job.sequences[0])

    def on_output(self, output: PoolingOutput, job: TextJob) -> PoolingOutput:
        """Return the vectors of the tokens that are kept."""
        kind = input_type(job.call.options)
        if kind is None:
            return output
        is_image = job.prompt.multi_modal_data is not None
        kept = self.readers[kind].kept(job.sequences[0].input_ids, is_image=is_image)
        return output if kept is None else type(output)(output.array[kept])


def query_markers(ctx: TaskContext) -> QueryMarkers | None:
    """Return the step of a model; None if it has no token vectors, or no tokenizer."""
    config: LateInteraction | None = ctx.model.retrieval.late_interaction
    if config is None or ctx.tokenizer is None or "token_embed" not in ctx.tasks:
        return None
    return QueryMarkers(ctx, ctx.tokenizer, config)


def _marker(tokenizer: Tokenizer, marker: str) -> tuple[tuple[int, ...], str]:
    """Return the ids of the marker's token, and the rest of the marker as text.

    "[unused0] " is a token; "[Q] " is a token only if it was added to the vocabulary.
    """
    first_word = marker.split(maxsplit=1)[0] if marker.strip() else ""
    for token in (marker, first_word):
        token_id = tokenizer.backend.token_to_id(token) if token else None
        if token_id is not None:
            return (token_id,), marker.removeprefix(token).lstrip()
    return (), marker


def _suffix(tokenizer: Tokenizer, suffix: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the text after each input, and the ids of the special tokens that follow it."""
    if not suffix:
        return (), ()
    encoding = tokenizer.backend.encode(suffix, add_special_tokens=False)
    return tuple(encoding.ids), ends_of(tokenizer)[1]


def ends_of(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the special tokens that the tokenizer adds before a text, and of those after it."""
    encoding = tokenizer.backend.encode("a", add_special_tokens=True)
    mask = "".join(map(str, encoding.special_tokens_mask))
    return tuple(encoding.ids[: mask.find("0")]), tuple(encoding.ids[mask.rfind("0") + 1 :])


def _token_ids(tokenizer: Tokenizer, words: tuple[str, ...]) -> set[int]:
    """Return the ids of the words that are tokens; other words cannot occur."""
    token_ids = (tokenizer.backend.token_to_id(word) for word in words)
    return {token_id for token_id in token_ids if token_id is not None}


def _expansion_id(ctx: TaskContext, tokenizer: Tokenizer, expansion: Expansion) -> int:
    """Return the id of the token that expands queries."""
    names = (
        [expansion.token]
        if expansion.token
        else [tokenizer.special_tokens.get(f"{role}_token") for role in ("mask", "eos")]
    )
    token_ids = [tokenizer.backend.token_to_id(name) for name in names if name]
    expansion_id = next((token_id for token_id in token_ids if token_id is not None), None)
    if expansion_id is None:
        message = f"{ctx.model.model!r} expands queries, but its tokenizer has none of the tokens {names}"
        raise InvalidInputError(message, parameter="tokenizer")
    return expansion_id
