"""The IO processor of the task ``represent``: several results of one text from one forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Asked, Work
from millpond.pipeline.options import read_asked
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import RepresentationsOutput
from millpond.types.params import PoolingParams, validated
from millpond.types.prompts import Prompt
from millpond_io.retrieval.late_interaction import INPUT_TYPE, Reader, input_type
from millpond_io.tasks.embed import EmbedProcessor
from millpond_io.tasks.embed_sparse import sparse_source
from millpond_io.text.processor import TextProcessor, TextWork
from millpond_io.text.prompt_tokenizer import TokenizedPrompt

WANTED, SPARSE = "representations", "embed_sparse"
SIDED = "token_embed"  # the task for which a text is read as a query or a document
Wanted: TypeAlias = tuple[str, Asked]  # the task that was asked for, and what its own processor makes of it


NO_ROUTES = "Queries and documents of this model take different routes: ask for one result at a time."


@dataclass(frozen=True, eq=False, slots=True)
class RepresentAsked(Asked):
    """What a call asks.

    Attributes:
        each: Each result: the task, and what its own processor makes of what is asked.
    """

    each: tuple[Wanted, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class RepresentWork(Work):
    """The sequence of a prompt.

    Attributes:
        each: Each result, as in ``RepresentAsked``.
        kept: Which tokens' vectors are returned, [num_tokens], bool; None for all.
    """

    each: tuple[Wanted, ...]
    kept: NDArray[np.bool_] | None = None


class RepresentProcessor(TextProcessor):
    """Text or token ids to several results: of other tasks, or of one with other parameters."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.parts: dict[str, TextProcessor] = {}
        for task in (*ctx.task_spec.derived_from, SPARSE):
            entry = ctx.registry.tasks.find(task)
            if entry is None or (task not in ctx.tasks and (task != SPARSE or sparse_source(ctx) is None)):
                continue
            processor = ctx.io_processor(entry.spec.io_processor, task=task)
            if isinstance(processor, TextProcessor):
                self.parts[task] = processor
        sided = self.parts.get(SIDED)
        self.readers: Mapping[str, Reader] = sided.readers if isinstance(sided, EmbedProcessor) else {}

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model does not serve the task; None if it does."""
        return NO_ROUTES if ctx.model.retrieval.routes else super().refusal(ctx)

    def complete(self, asked: Asked) -> Asked:
        """Complete what is asked, and each result by its own task."""
        wanted = asked.options.representations
        if not isinstance(wanted, list | tuple) or not wanted:
            message = f"{WANTED} must be a list of objects such as {{'task': 'embed'}}; got {wanted!r}"
            raise InvalidInputError(message, parameter=WANTED)
        side = input_type(asked.options)
        if side is not None and not self.readers:
            asked = replace(
                asked,
                params=self._prompted(asked.params, side),
                options=asked.options.model_copy(update={INPUT_TYPE: None}),
            )
            side = None
        completed = self.completed(asked, supported=())
        each = tuple(self._one(item, completed.params.adapter, side) for item in wanted)
        return RepresentAsked(completed.params, completed.options, each)

    def _prompted(self, asked: PoolingParams, side: str) -> PoolingParams:
        """The parameters with the prompt that the model has for queries, or for documents.

        Raises:
            InvalidInputError: If it has none: a query is read as a document is then.
        """
        if side in self.prompts.named and asked.prompt is None and asked.prompt_name in (None, side):
            return asked.model_copy(update={"prompt_name": side})
        if side == "document" and self.ctx.model.retrieval.static_query_weights is not None:
            return asked
        message = (
            f"{INPUT_TYPE}={side!r}: {self.ctx.model.model!r} as 'represent' reads queries and documents alike; models "
            "that do not have markers for them, as ColBERT's, or prompts named 'query' and 'document', and neither "
            "prompt nor prompt_name goes with these"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)

    def prepared(self, prompt: Prompt, asked: Asked) -> tuple[Prompt, Asked]:
        """Return the prompt with what is put before it, as queries or documents of the model are read."""
        prompt, asked = super().prepared(prompt, asked)
        side = input_type(asked.options)
        if side is None:
            return prompt, asked
        prompt, params = self.readers[side].prepared(prompt, asked.params)
        return prompt, replace(asked, params=params)

    def work_of(self, rendered: TokenizedPrompt, asked: Asked, first: int) -> Work:
        """Return one sequence of a prompt, for all of its results."""
        assert isinstance(asked, RepresentAsked)  # noqa: S101  made by ``complete``
        side, kept = input_type(asked.options), None
        if side is not None:
            read = self.readers[side].read(rendered)
            rendered, kept = replace(read.rendered, features={**rendered.features, **read.features}), read.kept
        sequence = PoolingRequest(
            input_ids=rendered.input_ids,
            representations=tuple(self._representation(own.params, rendered, first) for _, own in asked.each),
            features=rendered.features,
            num_dropped_tokens=rendered.num_dropped_tokens,
        )
        return RepresentWork(sequences=(sequence,), each=asked.each, kept=kept)

    def decode(self, work: Work) -> RepresentationsOutput:  # type: ignore[override]  # several
        """Return the results of one prompt, in the order in which they were asked for."""
        assert isinstance(work, RepresentWork)  # noqa: S101  made by ``encode``
        (sequence,) = work.sequences
        parts = zip(work.each, sequence.results, strict=True)
        return RepresentationsOutput(
            tuple(
                self.parts[task].result(array, sequence, TextWork(sequences=work.sequences, asked=own, kept=work.kept))
                for (task, own), array in parts
            )
        )

    def _one(self, item: object, adapter: str | None, side: str | None) -> Wanted:
        """One result that is asked for, completed by its own task."""
        if isinstance(item, PoolingParams):
            asked = item
        elif isinstance(item, Mapping):
            asked = validated(PoolingParams, item, parameter=WANTED)
        else:
            message = f"{WANTED} holds {type(item).__name__}; expected objects such as {{'task': 'embed'}}"
            raise InvalidInputError(message, parameter=WANTED)
        if side is not None and asked.task != SIDED:
            message = f"{INPUT_TYPE}={side!r} is for {SIDED!r}; {asked.task!r} is not read as a query or a document"
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        processor = self.parts.get(asked.task or "")
        if processor is None:
            message = f"{WANTED}: the task {asked.task!r} is not served; this model serves: {', '.join(self.parts)}"
            raise InvalidInputError(message, parameter=WANTED)
        given = {} if side is None else {INPUT_TYPE: side}
        own = read_asked(processor, asked.model_copy(update={"task": None}), given)
        if input_type(own.options) != side:
            message = (
                f"{INPUT_TYPE}={input_type(own.options)!r} is for the whole call: all of it comes from one forward pass"
            )
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        own = processor.complete(own)
        if own.params.adapter not in (None, adapter):
            message = (
                f"{WANTED}: adapter={own.params.adapter!r} is for the whole call: all of it comes from one forward pass"
            )
            raise InvalidInputError(message, parameter="adapter")
        return asked.task or "", replace(own, params=own.params.model_copy(update={"adapter": adapter}))

    def _representation(self, params: PoolingParams, rendered: TokenizedPrompt, first: int) -> Representation:
        task = params.task or ""
        whole = first == 0 or self.ctx.registry.tasks.get(task).spec.per_token
        return Representation(task, params, None if whole else (first, len(rendered.input_ids)))
