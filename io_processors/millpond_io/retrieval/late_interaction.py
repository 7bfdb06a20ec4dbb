"""Queries and documents as a model of token vectors reads them: markers, expansion, tokens that are left out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.loading.tokenizer import Tokenizer
from millpond.nn.batch import NUM_ATTENDED
from millpond.types.errors import InvalidInputError
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig, TokenPooling
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt
from millpond_io.retrieval.token_pooling import POOL_FACTOR, load_clustering, pooling_of
from millpond_io.text.prompt_tokenizer import TokenizedPrompt

INPUT_TYPE = "input_type"
INPUT_TYPES = ("query", "document")


@dataclass(frozen=True)
class EncodedInput:
    """A query or document as token ids.

    Attributes:
        rendered: The ids.
        features: For the model: how many tokens are attended to, where that is not all.
        kept: Which tokens' vectors are given, [num_tokens], bool; None for all.
    """

    rendered: TokenizedPrompt
    features: Mapping[str, object]
    kept: NDArray[np.bool_] | None


class Reader:
    """Reads queries, or documents, of one model.

    A marker that is one token of the vocabulary is put behind the special tokens at the start as such, for a tokenizer
    might take it to pieces; any other is text.
    """

    def __init__(
        self, ctx: TaskContext, tokenizer: Tokenizer, side: QueryDocumentConfig, expansion: Expansion | None
    ) -> None:
        self.most = min(ctx.model.max_model_len, side.length or ctx.model.max_model_len)
        self.cuts = side.length is not None or (expansion is not None and expansion.cuts)
        self.least = 0 if expansion is None else min(ctx.model.max_model_len, expansion.length)
        if expansion is not None:
            self.most = self.least if expansion.cuts else self.most
        self.model = ctx.model.model
        self.marker, text = _marker(tokenizer, side.marker)
        self.before = text + side.prompt
        self.ending, self.closing = _ending(tokenizer, side.ending)
        self.adds_special_tokens = side.special_tokens
        added = tokenizer.backend.get_added_tokens_decoder()
        self.special_ids = frozenset(id_ for id_, token in added.items() if token.special)
        self.skipped = np.array(sorted(_ids(tokenizer, side.skipped)), dtype=np.int64)
        self.only = np.array(side.only, dtype=np.int64)
        self.expansion = expansion
        self.pooling = side.pooling
        if side.pooling is not None:
            load_clustering()
        self.filler = None if expansion is None else _filler(ctx, tokenizer, expansion)

    @property
    def room(self) -> int:
        """The number of tokens that a text and its special tokens may have."""
        return self.most - len(self.marker) - len(self.ending)

    def prepared(self, prompt: Prompt, params: PoolingParams) -> tuple[Prompt, PoolingParams]:
        """A prompt with the text before it, and how much of both is kept; one with an image as it is."""
        if prompt.multi_modal_data is not None:
            return prompt, params
        if prompt.text is not None and (self.before or not self.adds_special_tokens):
            special = prompt.add_special_tokens and self.adds_special_tokens
            prompt = replace(prompt, text=self.before + prompt.text, add_special_tokens=special)
        room = self.room
        asked = params.truncate_prompt_tokens
        if not self.cuts and asked is None and params.on_overflow != "truncate":
            return prompt, params
        kept = room if asked in (None, -1) else min(asked or room, room)
        return prompt, params.model_copy(update={"truncate_prompt_tokens": kept})

    def read(self, rendered: TokenizedPrompt) -> EncodedInput:
        """The ids with the marker and what is put behind them; those of an image as they are.

        Raises:
            InvalidInputError: If they are more than the model reads.
        """
        if rendered.features:
            return EncodedInput(rendered, rendered.features, self._kept(rendered.input_ids) if len(self.only) else None)
        ids = rendered.input_ids
        place = int(len(ids) > 0 and int(ids[0]) in self.special_ids)
        ids = np.concatenate([ids[:place], np.array(self.marker, dtype=np.int64), ids[place:]])
        if self.ending:
            ids = np.insert(ids, self._end(ids), self.ending)
        if len(ids) > self.most:
            message = (
                f"the prompt has {len(ids)} tokens with what is put around it, and {self.model!r} reads {self.most}: "
                "cut it with truncate_prompt_tokens=-1"
            )
            raise InvalidInputError(message, parameter="prompts")
        own = len(ids)
        features: Mapping[str, object] = {}
        if self.expansion is not None and own < self.least:
            ids = np.concatenate([ids, np.full(self.least - own, self.filler, dtype=np.int64)])
            features = {} if self.expansion.attended else {NUM_ATTENDED: own}
        return EncodedInput(TokenizedPrompt(ids, rendered.num_dropped_tokens), features, self._kept(ids))

    def _kept(self, ids: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which tokens' vectors are given, [num_tokens]; None for all."""
        if not len(self.skipped) and not len(self.only):
            return None
        kept = ~np.isin(ids, self.skipped)
        return kept & np.isin(ids, self.only) if len(self.only) else kept

    def _end(self, ids: NDArray[np.int64]) -> int:
        """Where a text ends: before the special tokens that the tokenizer puts behind it, if it did."""
        closes = len(self.closing) > 0 and tuple(ids[-len(self.closing) :].tolist()) == self.closing
        return len(ids) - len(self.closing) * closes


def readers(ctx: TaskContext) -> Mapping[str, Reader]:
    """The reader of each type of input; empty for a model that knows none."""
    said: LateInteraction | None = ctx.model.retrieval.late_interaction
    if said is None or ctx.tokenizer is None or not ctx.task_spec.per_token:
        return {}
    return {
        "query": Reader(ctx, ctx.tokenizer, said.query, said.expansion),
        "document": Reader(ctx, ctx.tokenizer, said.document, None),
    }


def token_pooling(options: Any, known: Mapping[str, Reader]) -> TokenPooling | None:
    """Return how the vectors of a text become fewer; None if they do not. Queries only do as the model states."""
    kind = input_type(options)
    own = known[kind].pooling if kind is not None and kind in known else None
    return own if kind == "query" else pooling_of(getattr(options, POOL_FACTOR, None), own)


def input_type(options: Any) -> str | None:
    """Return what the options of a call state that its prompts are; None for prompts as they are."""
    kind: str | None = getattr(options, INPUT_TYPE, None)
    return kind


def _marker(tokenizer: Tokenizer, marker: str) -> tuple[tuple[int, ...], str]:
    """The marker as a token, and what of it is text: "[unused0] " is a token, as is "[Q] " where that was added."""
    first = marker.split(maxsplit=1)[0] if marker.strip() else ""
    for token in (marker, first):
        found = tokenizer.backend.token_to_id(token) if token else None
        if found is not None:
            return (found,), marker.removeprefix(token).lstrip()
    return (), marker


def _ending(tokenizer: Tokenizer, ending: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids of what is put behind a text, and of the special tokens that the tokenizer puts behind that."""
    if not ending:
        return (), ()
    bare = tokenizer.backend.encode(ending, add_special_tokens=False)
    return tuple(bare.ids), ends_of(tokenizer)[1]


def ends_of(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the special tokens that the tokenizer puts before a text, and of those after it."""
    whole = tokenizer.backend.encode("a", add_special_tokens=True)
    marks = "".join(map(str, whole.special_tokens_mask))
    return tuple(whole.ids[: marks.find("0")]), tuple(whole.ids[marks.rfind("0") + 1 :])


def _ids(tokenizer: Tokenizer, words: tuple[str, ...]) -> set[int]:
    """The ids of words that are tokens; the others are nowhere in a text."""
    found = (tokenizer.backend.token_to_id(word) for word in words)
    return {id_ for id_ in found if id_ is not None}


def _filler(ctx: TaskContext, tokenizer: Tokenizer, expansion: Expansion) -> int:
    names = (
        [expansion.token]
        if expansion.token
        else [tokenizer.special_tokens.get(f"{role}_token") for role in ("mask", "eos")]
    )
    found = [tokenizer.backend.token_to_id(name) for name in names if name]
    known = next((id_ for id_ in found if id_ is not None), None)
    if known is None:
        message = f"{ctx.model.model!r} expands queries, and its tokenizer has no token to do so with: {names}"
        raise InvalidInputError(message, parameter="tokenizer")
    return known
