"""BiEncoder: scores queries and documents by the similarity of their vectors, which are computed separately."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.pipeline.options import read_call
from millpond.types.errors import InvalidInputError, MillpondError
from millpond.types.outputs import ScoringOutput
from millpond.types.prompts import Content, PairItem
from millpond_io.images.parts import images_of, truncate, with_placeholders
from millpond_io.scoring.maxsim import MaxSim
from millpond_io.scoring.options import warn_of_templates
from millpond_io.scoring.similarities import SIMILARITIES, Pairs
from millpond_modeling.images import image_reader

PROMPT_PARAMETERS = (None, "prompts", "multi_modal_data")  # replaced in errors by the parameters of LLM.score
QUERY, DOCUMENT = "query", "document"
PARAMETERS = {QUERY: "data_1", DOCUMENT: "data_2"}
Key = tuple[str, Content, int]


class SeparatePair(PairItem):
    """A query and a document that are encoded separately. Equal pairs share sequences, but have different ids."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SeparateCall(Call):
    """A call whose queries and documents are encoded separately.

    Attributes:
        by_role: The completed parameters and options of "query" and of "document".
    """

    by_role: dict[str, Call] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True, weakref_slot=True)
class PairInput:
    """A query or a document of a call.

    Attributes:
        job: The job with its sequences, or its error.
        number: A number for the ids of outputs.
    """

    job: Job
    number: int


@dataclass(eq=False, slots=True)
class SharedInputs:
    """The queries and documents of a call that are needed for pairs that are not scored yet.

    Attributes:
        inputs: The inputs by key, held weakly: the vectors of a whole call may not fit into memory.
        last_query: The last query, which may be needed for all documents.
    """

    inputs: WeakValueDictionary[Key, PairInput] = field(default_factory=WeakValueDictionary)
    last_query: PairInput | None = None


@dataclass(eq=False, kw_only=True, slots=True)
class PairJob(Job):
    """A pair of a query and a document.

    Attributes:
        query: The query, which may be in many pairs.
        document: The document.
        separator: The token ids between those of the query and the document, in outputs.
    """

    query: PairInput
    document: PairInput
    separator: list[int]

    @property
    def prompt_token_ids(self) -> list[int]:
        """The ids of the query, the separator and the document."""
        return [*self.query.job.prompt_token_ids, *self.separator, *self.document.job.prompt_token_ids]


class BiEncoder:
    """Encodes each query and document once, with the IO processor of another task, and compares their vectors."""

    pair: Callable[[Content, Content], PairItem] = SeparatePair

    def __init__(self, ctx: TaskContext, task: str) -> None:
        self.ctx = ctx
        self.inner: IOProcessor[Any] = ctx.io_processor(ctx.registry.tasks.get(task).spec.io_processor, task=task)
        retrieval = ctx.model.retrieval
        late, static = retrieval.late_interaction is not None, retrieval.static_query_weights is not None
        self.uses_input_types = (task == "token_embed" and late) or (task == "embed" and static) or bool(ctx.routes)
        self.reader = image_reader(ctx)
        pad = None if ctx.tokenizer is None else ctx.tokenizer.pad_token_id
        self.separator = [] if pad is None else [pad]  # as in vLLM
        self.compare: Callable[[Pairs], Iterator[float]] = (
            SIMILARITIES[ctx.model.embedding.similarity] if task == "embed" else MaxSim(ctx)
        )
        self._numbers = count()

    def complete(self, call: Call) -> SeparateCall:
        """Complete the parameters of queries and of documents."""
        warn_of_templates(call.options, "the model encodes each text separately; templates are for cross-encoders")
        mixed_modality = call.options.mixed_modality
        options = {} if mixed_modality is None else {"mixed_modality": mixed_modality}
        by_role = {
            role: self.inner.complete(
                read_call(
                    self.inner, call.params, {**options, **({"input_type": role} if self.uses_input_types else {})}
                )
            )
            for role in (QUERY, DOCUMENT)
        }
        return SeparateCall(call.prompts, by_role[QUERY].params, call.options, call.shared, by_role=by_role)

    def encode(self, call: Call) -> list[Job]:
        """Encode the queries and documents that are new in the call, all at once."""
        assert isinstance(call, SeparateCall)  # noqa: S101  returned by ``complete``
        shared: SharedInputs = call.shared.setdefault(SharedInputs, SharedInputs())
        inputs: dict[Key, PairInput] = {}
        number = id(call.params)
        keys = [((QUERY, pair.query, number), (DOCUMENT, pair.document, number)) for pair in call.prompts]
        new: dict[str, list[Key]] = {QUERY: [], DOCUMENT: []}
        for key in dict.fromkeys(key for pair in keys for key in pair):
            shared_input = shared.inputs.get(key)
            if shared_input is None:
                new[key[0]].append(key)
            else:
                inputs[key] = shared_input
        for role, new_keys in new.items():
            contents = [self._truncate(key, call) for key in new_keys]
            prompts = [_prompt(content, self.reader) for content, _ in contents]
            jobs = self.inner.encode(replace(call.by_role[role], prompts=prompts)) if prompts else ()
            for key, (_, num_dropped), job in zip(new_keys, contents, jobs, strict=True):
                if job.sequences:
                    job.sequences[0].num_dropped_tokens += num_dropped
                inputs[key] = shared.inputs[key] = PairInput(job=job, number=next(self._numbers))
        shared.last_query = inputs[keys[-1][0]]
        return [self._job(inputs[query], inputs[document]) for query, document in keys]

    def decode_many(self, jobs: Sequence[Job]) -> list[ScoringOutput]:
        """Compare the vectors of pairs; the vectors of an input in several pairs are decoded once."""
        pairs = cast("Sequence[PairJob]", jobs)
        inputs = {it.number: it.job for pair in pairs for it in (pair.query, pair.document)}
        outputs = self.inner.decode_many([*inputs.values()])
        arrays = {number: output.array for number, output in zip(inputs, outputs, strict=True)}
        scores = self.compare([(arrays[pair.query.number], arrays[pair.document.number]) for pair in pairs])
        return [ScoringOutput(np.asarray(score)) for score in scores]

    def _job(self, query: PairInput, document: PairInput) -> Job:
        error = _with_role(QUERY, query.job.error) or _with_role(DOCUMENT, document.job.error)
        return PairJob(
            sequences=(*query.job.sequences, *document.job.sequences) if error is None else (),
            error=error,
            request_id=f"{query.number}_{next(self._numbers)}",
            query=query,
            document=document,
            separator=self.separator,
        )

    def _truncate(self, key: Key, call: Call) -> tuple[Content, int]:
        """Return the truncated content of a query or document, and the number of removed tokens."""
        role, content, _ = key
        options = call.options
        limit = options.max_tokens_per_query if role == QUERY else options.max_tokens_per_doc
        if not limit or self.ctx.tokenizer is None:
            return content, 0
        return truncate(self.ctx.tokenizer, content, limit)


def _prompt(content: Content, reader: Any) -> dict[str, object]:
    """Return a content as a prompt of the inner IO processor."""
    if isinstance(content, str):
        return {"prompt": content}
    return {"prompt": with_placeholders(content, reader), "multi_modal_data": {"image": images_of(content)}}


def _with_role(role: str, error: MillpondError | None) -> MillpondError | None:
    """Return the error of a query or document with its role in the message."""
    if not isinstance(error, InvalidInputError):
        return error
    parameter = PARAMETERS[role] if error.parameter in PROMPT_PARAMETERS else error.parameter
    with_role = InvalidInputError(f"{role}: {error.message}", parameter=parameter)
    with_role.__cause__ = error
    return with_role
