"""Scores of queries and documents that are embedded separately, by the similarity of their vectors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np

from millpond.compat.io_adapter import adapted
from millpond.context import TaskContext
from millpond.pipeline.io_processor import Asked, Call, Item, Work
from millpond.pipeline.options import read_asked
from millpond.types.errors import InvalidInputError, MillpondError
from millpond.types.outputs import ScoringOutput
from millpond.types.prompts import Content, PairItem
from millpond_io.images.parts import images_of, truncate, with_placeholders
from millpond_io.scoring.maxsim import MaxSim
from millpond_io.scoring.options import warn_of_templates
from millpond_io.scoring.similarities import SIMILARITIES, Pairs

OF_PROMPTS = (None, "prompts", "multi_modal_data")  # parameters that mean nothing to a caller of score
QUERY, DOCUMENT = "query", "document"
PARAMETERS = {QUERY: "data_1", DOCUMENT: "data_2"}
Key = tuple[str, Content, int]


class SeparatePair(PairItem):
    """A query and a document that are computed apart; equal pairs have sequences in common, and ids of their own."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PairRequest(Asked):
    """The parameters and options of pairs, and those of each side.

    Attributes:
        of: For "query" and "document", what their own IO processor is asked.
    """

    of: dict[str, Asked] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True, weakref_slot=True)
class PairInput:
    """A query or a document of a call.

    Attributes:
        work: Its sequences, or its error.
        number: Its part of the ids of outputs.
    """

    work: Work
    number: int


@dataclass(eq=False, slots=True)
class SharedInputs:
    """The queries and documents of a call that some pair still needs, and the last query.

    Attributes:
        known: Each, as long as a pair of it is not scored: a call may have more vectors than fit into memory.
        last: The last query: it may be that of all documents.
    """

    known: WeakValueDictionary[Key, PairInput] = field(default_factory=WeakValueDictionary)
    last: PairInput | None = None


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PairWork(Work):
    """A query and a document.

    Attributes:
        query: The query, which may be in many pairs.
        document: The document.
        between: The ids that stand between those of both.
    """

    query: PairInput
    document: PairInput
    between: list[int]

    @property
    def prompt_token_ids(self) -> list[int]:
        """The ids of the query, then those of the document."""
        return [*self.query.work.prompt_token_ids, *self.between, *self.document.work.prompt_token_ids]


class BiEncoder:
    """Embeds queries and documents by the IO processor of another task, each once, and compares the pairs."""

    pair: Callable[[Content, Content], PairItem] = SeparatePair

    def __init__(self, ctx: TaskContext, task: str) -> None:
        self.ctx = ctx
        self.inner = adapted(ctx.io_processor(ctx.registry.tasks.get(task).spec.io_processor, task=task))
        retrieval = ctx.model.retrieval
        late, static = retrieval.late_interaction is not None, retrieval.static_query_weights is not None
        self.uses_input_types = (task == "token_embed" and late) or (task == "embed" and static) or bool(ctx.routes)
        self.reader = ctx.image_reader()
        pad = None if ctx.tokenizer is None else ctx.tokenizer.pad_token_id
        self.between = [] if pad is None else [pad]
        self.compare: Callable[[Pairs], Iterator[float]] = (
            SIMILARITIES[ctx.model.embedding.similarity] if task == "embed" else MaxSim(ctx)
        )
        self._numbers = count()

    def complete(self, asked: Asked) -> PairRequest:
        """Complete what is asked, as the IO processor of each side does."""
        warn_of_templates(asked.options, "the model embeds each text for itself, templates are for cross-encoders")
        mixed_modality = asked.options.mixed_modality
        given = {} if mixed_modality is None else {"mixed_modality": mixed_modality}
        of = {
            side: self.inner.complete(
                read_asked(
                    self.inner, asked.params, {**given, **({"input_type": side} if self.uses_input_types else {})}
                )
            )
            for side in (QUERY, DOCUMENT)
        }
        return PairRequest(of[QUERY].params, asked.options, of=of)

    def encode(self, call: Call) -> list[Work]:
        """Make the sequences of the queries and documents that the call has not had yet, all tokenised at once."""
        shared: SharedInputs = call.shared.setdefault(SharedInputs, SharedInputs())
        sides: dict[Key, PairInput] = {}
        keys = [((QUERY, data.query, id(asked)), (DOCUMENT, data.document, id(asked))) for data, asked in call.items]
        new: dict[Key, Asked] = {}
        for pair, (_, asked) in zip(keys, call.items, strict=True):
            for key in pair:
                known = shared.known.get(key)
                if known is None:
                    new[key] = asked
                else:
                    sides[key] = known
        cuts = {key: self._cut(key, asked) for key, asked in new.items()}
        items = [
            Item(_prompt(cuts[key][0], self.reader), cast("PairRequest", asked).of[key[0]])
            for key, asked in new.items()
        ]
        works = self.inner.encode(Call(items)) if items else ()
        for (key, (_, dropped)), work in zip(cuts.items(), works, strict=True):
            if work.sequences:
                work.sequences[0].num_dropped_tokens += dropped
            sides[key] = shared.known[key] = PairInput(work=work, number=next(self._numbers))
        shared.last = sides[keys[-1][0]]
        return [self._work(sides[query], sides[document]) for query, document in keys]

    def decode_many(self, works: Sequence[Work]) -> list[ScoringOutput]:
        """Compare the vectors of pairs; those of a side that is in many pairs are made once."""
        pairs = cast("Sequence[PairWork]", works)
        sides = {side.number: side.work for pair in pairs for side in (pair.query, pair.document)}
        outputs = self.inner.decode_many([*sides.values()])
        arrays = {number: output.array for number, output in zip(sides, outputs, strict=True)}
        scores = self.compare([(arrays[pair.query.number], arrays[pair.document.number]) for pair in pairs])
        return [ScoringOutput(np.asarray(score)) for score in scores]

    def _work(self, query: PairInput, document: PairInput) -> Work:
        error = _of(QUERY, query.work.error) or _of(DOCUMENT, document.work.error)
        return PairWork(
            sequences=(*query.work.sequences, *document.work.sequences) if error is None else (),
            error=error,
            request_id=f"{query.number}_{next(self._numbers)}",
            query=query,
            document=document,
            between=self.between,
        )

    def _cut(self, key: Key, asked: Asked) -> tuple[Content, int]:
        """Return the content of a side with as many tokens of its texts as are asked for, and how many were cut off."""
        side, content, _ = key
        options = asked.options
        most = options.max_tokens_per_query if side == QUERY else options.max_tokens_per_doc
        return truncate(self.ctx.tokenizer, content, most) if most and self.ctx.tokenizer is not None else (content, 0)


def _prompt(content: Content, reader: Any) -> dict[str, object]:
    """Return a content as the IO processor of a side takes it."""
    if isinstance(content, str):
        return {"prompt": content}
    return {"prompt": with_placeholders(content, reader), "multi_modal_data": {"image": images_of(content)}}


def _of(side: str, error: MillpondError | None) -> MillpondError | None:
    """Return the error of a side with its name."""
    if not isinstance(error, InvalidInputError):
        return error
    parameter = PARAMETERS[side] if error.parameter in OF_PROMPTS else error.parameter
    named = InvalidInputError(f"{side}: {error.message}", parameter=parameter)
    named.__cause__ = error
    return named
