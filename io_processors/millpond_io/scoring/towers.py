"""Scores of texts and images that are embedded each for itself: how alike two vectors are, or two sets of vectors."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from millpond.context import Context
from millpond.engine.request import PoolingRequest
from millpond.types.errors import EngineError, InvalidInputError, MillpondError
from millpond.types.outputs import ArrayOutput, PoolingRequestOutput, ScoringOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Content, PairItem
from millpond_io.images.parts import cut, images_of, marked
from millpond_io.images.prompts import MIXED
from millpond_io.retrieval.late_interaction import INPUT_TYPE
from millpond_io.scoring.options import read_options, warn_of_templates
from millpond_io.scoring.similarities import SIMILARITIES, Array, Pairs

Output = PoolingRequestOutput[Any]
NO_VECTORS = -1e9  # the score of a document without, as sentence-transformers has it
DOCUMENT_TOKENS_AT_ONCE = 32_768  # whose vectors are copied end to end for MaxSim
SIDES = ("data_1", "data_2")
OF_PROMPTS = (None, "prompts", "multi_modal_data")  # names that mean nothing to who asks for a score


@dataclass(frozen=True)
class Side(PairItem):
    """A query or a document.

    Attributes:
        place: The first pair that it is of; not part of what makes two of them equal.
    """

    place: int = field(default=0, compare=False)

    @property
    def is_query(self) -> bool:
        """Whether it is the query of its pair."""
        return self.query is not None

    @property
    def content(self) -> Content:
        """What either says."""
        return (self.query if self.is_query else self.document) or ""


class SideError(InvalidInputError):
    """A query or document at fault; it names the place of its pair, whatever its own place in the call."""

    def at(self, index: int) -> "SideError":
        """The same error: it knows its place."""
        del index
        return self


class Towers:
    """Embeds queries and documents by the IO processor of another task, and scores the pairs."""

    def __init__(self, ctx: Context, task: str) -> None:
        self.ctx = ctx
        self.inner = ctx.io_processor(ctx.registry.tasks.get(task).spec.io_processor, task=task)
        late, table = ctx.model.late_interaction is not None, ctx.model.query_table is not None
        self.reads_sides = (task == "token_embed" and late) or (task == "embed" and table) or bool(ctx.routes)
        self.reader = ctx.image_reader()
        self.score: Callable[[Pairs], Iterator[float]] = (
            SIMILARITIES[ctx.model.similarity] if task == "embed" else MaxSim(ctx)
        )

    def split(self, queries: Sequence[Content], documents: Sequence[Content]) -> list[object]:
        """The queries, then the documents; each is computed once."""
        return [
            *(Side(query=content, place=place) for place, content in enumerate(queries)),
            *(Side(document=content, place=place) for place, content in enumerate(documents)),
        ]

    def pooling_params(self, given: PoolingParams) -> PoolingParams:
        """What was asked, as the task's own IO processor completes it."""
        options = read_options(given, self.ctx.model.max_model_len)
        warn_of_templates(options, "the model embeds each text for itself, templates are for cross-encoders")
        inner = self.inner.pooling_params(given.model_copy(update={"extra_kwargs": None}))
        return inner.model_copy(update={"extra_kwargs": given.extra_kwargs})

    def parse(self, data: object) -> tuple[Side, Any]:
        """Check one text. One with images is read later: it is known then how its texts are cut."""
        if not isinstance(data, Side):
            message = f"expected a query or a document of a call of score; got {type(data).__name__}"
            raise InvalidInputError(message, parameter="data_1")
        return data, self._parsed(data, data.content) if isinstance(data.content, str) else None

    def pre_process_many(
        self, items: Sequence[tuple[tuple[Side, Any], PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of many texts and images; one at fault costs no other."""
        made: list[list[PoolingRequest] | InvalidInputError] = []
        ready: list[tuple[Any, PoolingParams]] = []
        dropped: list[tuple[int, int]] = []  # the place of each, and how many tokens of it were cut off before
        for place, ((side, prompt), params) in enumerate(items):
            made.append([])
            try:
                cut_off = self._cut(side, prompt, params)
            except InvalidInputError as error:
                made[place] = error
                continue
            ready.append((cut_off[0], self._own(side, params)))
            dropped.append((place, cut_off[1]))
        for (place, num_dropped), requests in zip(dropped, self.inner.pre_process_many(ready), strict=True):
            if isinstance(requests, InvalidInputError):
                made[place] = _of(items[place][0][0], requests)
                continue
            requests[0].num_dropped_tokens += num_dropped
            made[place] = requests
        return made

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The vector or vectors of a text or image."""
        output: ArrayOutput = self.inner.post_process(requests)
        return output

    def join(self, items: Sequence[object], outputs: Sequence[Output]) -> list[Output]:
        """The outputs of the pairs, in the order of the documents."""
        num_queries = sum(isinstance(item, Side) and item.is_query for item in items)
        queries, documents = outputs[:num_queries], outputs[num_queries:]
        pairs = [(queries[0 if num_queries == 1 else place], document) for place, document in enumerate(documents)]
        joined = [self._joined(query, document, place) for place, (query, document) in enumerate(pairs)]
        whole = [place for place, output in enumerate(joined) if output.error is None]
        scores = self.score([(pairs[place][0].outputs.array, pairs[place][1].outputs.array) for place in whole])
        for place, score in zip(whole, scores, strict=True):
            joined[place] = replace(joined[place], outputs=ScoringOutput(np.asarray(score)))
        return joined

    def _own(self, side: Side, params: PoolingParams) -> PoolingParams:
        """The parameters of one side, which say whether it is a query where the model makes a difference."""
        mixed = (params.extra_kwargs or {}).get(MIXED)
        own: dict[str, object] = {} if mixed is None else {MIXED: mixed}
        if self.reads_sides:
            own[INPUT_TYPE] = "query" if side.is_query else "document"
        return params.model_copy(update={"extra_kwargs": own}) if own else params

    def _joined(self, query: Output, document: Output, place: int) -> Output:
        """What became of a pair, without its score."""
        error = query.error or document.error
        pad = None if self.ctx.tokenizer is None else self.ctx.tokenizer.pad_token_id
        between = [] if pad is None else [pad]
        return PoolingRequestOutput(
            request_id=f"{query.request_id}_{document.request_id}",
            outputs=None,
            prompt_token_ids=[*query.prompt_token_ids, *between, *document.prompt_token_ids],
            error=None if error is None else _at(error, place),
            num_dropped_tokens=query.num_dropped_tokens + document.num_dropped_tokens,
        )

    def _cut(self, side: Side, prompt: object, params: PoolingParams) -> tuple[object, int]:
        """The prompt of a side, its texts cut to what the call says, and how many tokens were cut off."""
        content, dropped = side.content, 0
        if params.extra_kwargs and self.ctx.tokenizer is not None:
            options = read_options(params, self.ctx.model.max_model_len)
            most = options.max_tokens_per_query if side.is_query else options.max_tokens_per_doc
            content, dropped = cut(self.ctx.tokenizer, content, most) if most else (content, 0)
        return (prompt, 0) if prompt is not None and not dropped else (self._parsed(side, content), dropped)

    def _parsed(self, side: Side, content: Content) -> Any:
        """What the task's own IO processor makes of a content.

        Raises:
            SideError: If it refuses it.
        """
        try:
            return self.inner.parse(self._prompt(content))
        except InvalidInputError as error:
            raise _of(side, error) from error

    def _prompt(self, content: Content) -> dict[str, object]:
        """A content as the task's own IO processor takes it."""
        if isinstance(content, str):
            return {"prompt": content}
        return {"prompt": marked(content, self.reader), "multi_modal_data": {"image": images_of(content)}}


class MaxSim:
    """The sum, over the tokens of a query, of the largest product with a token of the document: the op ``maxsim``.

    Where the model compares by "meanmaxsim", it is divided by the number of the query's tokens. A document may have no
    vectors, where its files leave out all of its tokens: it goes behind all others. So may a query, whose sum is 0.
    """

    def __init__(self, ctx: Context) -> None:
        self.mean = ctx.model.late_similarity == "meanmaxsim"
        head_ctx = ctx.for_head()
        self.op: Callable[..., torch.Tensor] = head_ctx.op("maxsim")
        self.device = ctx.device

    def __call__(self, pairs: Pairs) -> Iterator[float]:
        """The score of each pair of sets of vectors, [num_tokens, dim] each.

        Documents are copied in blocks of a bounded size, whatever their number.
        """
        scores = self._scores([(query, document) for query, document in pairs if len(query) and len(document)])
        for query, document in pairs:
            if not len(document):
                yield NO_VECTORS
            else:
                yield next(scores) if len(query) else 0.0

    def _scores(self, pairs: Pairs) -> Iterator[float]:
        """The scores of pairs that have vectors both."""
        for block in _blocks(pairs):
            queries = list({id(query): query for query, _ in block}.values())
            numbers = {id(query): number for number, query in enumerate(queries)}
            scores = self.op(
                self._end_to_end(queries),
                self._end_to_end([document for _, document in block]),
                [len(query) for query in queries],
                [len(document) for _, document in block],
                None if len(queries) == 1 else [(numbers[id(query)], place) for place, (query, _) in enumerate(block)],
            )
            found = scores.flatten().tolist()
            if self.mean:
                found = [score / len(query) for score, (query, _) in zip(found, block, strict=True)]
            yield from found

    def _end_to_end(self, arrays: Sequence[Array]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(self.device)


def _blocks(pairs: Pairs) -> Iterator[Pairs]:
    """Neighbouring pairs whose documents have so many tokens together, or one pair whose document has more."""
    start = tokens = 0
    for place, (query, document) in enumerate(pairs):
        added = len(query) + len(document)
        if place > start and tokens + added > DOCUMENT_TOKENS_AT_ONCE:
            yield pairs[start:place]
            start, tokens = place, 0
        tokens += added
    if start < len(pairs):
        yield pairs[start:]


def _of(side: Side, error: InvalidInputError) -> SideError:
    """The error of a side, with its name and the place of its pair."""
    name = "query" if side.is_query else "document"
    parameter = SIDES[not side.is_query] if error.parameter in OF_PROMPTS else error.parameter
    return SideError(f"{name}: {error.message}", index=side.place, parameter=parameter)


def _at(error: MillpondError, place: int) -> MillpondError:
    """The error of a side as that of a pair."""
    if isinstance(error, InvalidInputError):
        located: MillpondError = InvalidInputError(error.message, index=place, parameter=error.parameter)
    elif isinstance(error, EngineError):
        located = type(error)(re.sub(r"^prompt \d+: ", f"prompt {place}: ", str(error)))
    else:
        return error
    located.__cause__ = error.__cause__
    return located
