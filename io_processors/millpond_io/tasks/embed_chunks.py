"""IO processor of ``LLM.embed_chunks``: one vector per chunk of a text, with late or naive chunking.

Late chunking: the model reads the whole text, and the pooler of ``embed`` is applied to the tokens of each chunk
(Günther et al. 2024, arXiv 2409.04701). As in section 4.1 of the paper, the tokens before the text (special tokens and
those of an instruction) belong to the first chunk, and the tokens after the text to the last chunk.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ChunksOutput
from millpond_io.chat.text_messages import TextMessages
from millpond_io.chunking.options import Cut, TextInChunks, read_cut, split_call
from millpond_io.chunking.spans import Span, Tokens, characters_of, chunks_of_spans, chunks_of_tokens, tokens_of
from millpond_io.chunking.windows import choose_windows
from millpond_io.prompts import Conversation, parse_prompt
from millpond_io.retrieval.input_types import input_type
from millpond_io.tasks.embed import EmbedProcessor
from millpond_io.text.excluded_prompts import ExcludePrompt
from millpond_io.text.processor import encode_valid
from millpond_io.text.prompt_tokenizer import EMPTY, sequence_of
from millpond_text.prompt import Prompt
from millpond_text.steps import step_of_plugin

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_ROUTES = "Queries and documents of this model take different routes, and chunks of texts are neither of them."


@dataclass(frozen=True)
class Document:
    """A text, how it is split, and how its chunks are embedded."""

    prompt: Prompt
    text: str
    cut: Cut
    is_late: bool


@dataclass(eq=False, kw_only=True, slots=True)
class ChunksJob(Job):
    """The sequences of a document.

    Attributes:
        text: The document.
        spans: The characters of each chunk.
        chunks: With late chunking, the indices of the chunks that the results of each sequence belong to.
        naive: With naive chunking, the job of each chunk.
    """

    text: str
    spans: tuple[Span, ...]
    chunks: tuple[tuple[int, ...], ...] = ()
    naive: tuple[Job, ...] = ()


class ChunksProcessor(IOProcessor[ChunksOutput]):
    """Converts texts to the vectors of their chunks."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.embed = EmbedProcessor(replace(ctx, task="embed"))

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return why the model does not serve the task; None if it does."""
        step = step_of_plugin(replace(ctx, task="embed"))
        if step is not None:
            return f"Chunks are spans of the caller's text, which the {step} may change."
        return NO_ROUTES if ctx.model.retrieval.routes else super().refusal(ctx)

    def items(self, prompts: object) -> list[object]:
        """Return the texts of a call, each with its chunking arguments."""
        return list(split_call(prompts))

    def encode(self, call: Call) -> list[Job]:
        """Validate texts, and tokenize their windows or chunks."""
        return encode_valid(call, self._read_document, self._encode_documents)

    def _encode_documents(self, documents: Sequence[Document], call: Call) -> list[Job]:
        jobs: list[Job] = []
        for document in documents:
            try:
                jobs.append(self._job(document, call))
            except InvalidInputError as error:
                jobs.append(Job(error=error))
        return jobs

    def _read_document(self, data: object) -> Document:
        """Validate one text and its spans."""
        if not isinstance(data, TextInChunks):
            message = f"expected a text with chunking arguments; got {type(data).__name__}"
            raise InvalidInputError(message, parameter="prompts")
        prompt = parse_prompt(data.text)
        if isinstance(prompt, Conversation):
            message = "embed_chunks takes texts, as chunks are spans of characters; these are messages"
            raise InvalidInputError(message, parameter="messages")
        if prompt.multi_modal_data is not None:
            message = "embed_chunks takes texts, as chunks are spans of characters; this one has 'multi_modal_data'"
            raise InvalidInputError(message, parameter="multi_modal_data")
        text = self.embed.prompt_tokenizer.check(prompt).text
        if text is None:
            message = "embed_chunks takes texts, as chunks are spans of characters; these are token ids"
            raise InvalidInputError(message, parameter="prompts")
        if not text:
            raise InvalidInputError(EMPTY, parameter="prompts")
        return Document(prompt, text, read_cut(data, text), data.method == "late")

    def complete(self, call: Call) -> Call:
        """Complete the parameters like ``embed``, except ``on_overflow``.

        Raises:
            InvalidInputError: If the parameters request truncation: parts of the text would be in no chunk.
        """
        params = call.params
        for name in ("truncate_prompt_tokens", "on_overflow"):
            if getattr(params, name) not in (None, "error", "chunk"):
                message = (
                    f"{name}={getattr(params, name)!r}: embed_chunks does not truncate texts. A text over the model's "
                    "maximum is read in windows; on_overflow='error' refuses it"
                )
                raise InvalidInputError(message, parameter=name)
        completed = self.embed.complete(replace(call, params=params.model_copy(update={"task": None})))
        return replace(completed, params=completed.params.model_copy(update={"on_overflow": params.on_overflow}))

    def _job(self, data: Document, call: Call) -> Job:
        """Return the sequences of a text: windows with late chunking, otherwise chunks."""
        tokens = self._tokens(data, call)
        if data.cut.spans is not None:
            spans = data.cut.spans
            chunks = chunks_of_spans(tokens, spans, data.text)
        else:
            chunks = chunks_of_tokens(tokens, data.cut.size, data.cut.overlap)
            spans = tuple(characters_of(tokens, chunk) for chunk in chunks)
        if not chunks:
            message = "the text has no tokens: there is nothing to split into chunks"
            raise InvalidInputError(message, parameter="prompts")
        return self._late(tokens, chunks, spans, data, call) if data.is_late else self._naive(spans, data, call)

    def decode(self, job: Job) -> ChunksOutput:
        """Return the vectors of a text's chunks, [num_chunks, dim]."""
        assert isinstance(job, ChunksJob)  # noqa: S101  returned by ``encode``
        if job.naive:
            vectors = [self.embed.decode(each).array for each in job.naive]
        else:
            by_chunk: dict[int, NDArray[np.float32]] = {}
            for chunks, sequence in zip(job.chunks, job.sequences, strict=True):
                by_chunk |= zip(chunks, sequence.results, strict=True)
            vectors = [by_chunk[chunk] for chunk in sorted(by_chunk)]
        return ChunksOutput(np.stack(vectors), spans=job.spans, text=job.text)

    def _tokens(self, data: Document, call: Call) -> Tokens:
        """Return the tokens of the whole text, as the model would read them."""
        params = call.params
        prompt, text, special = self._read(data, call)
        lengths = self.embed.prompt_tokenizer.lengths
        refuses = params.on_overflow == "error" and data.is_late
        limits = params.model_copy(update={"on_overflow": "error" if refuses else "chunk"})
        lengths.check_characters(text, limits)
        ids, offsets = self.embed.prompt_tokenizer.encode_with_offsets(text, special=special)
        lengths.check_tokens(len(ids), limits)
        end = len(prompt) + len(data.text)
        inside = [(start, min(stop, end)) if start < end else (0, 0) for start, stop in offsets]
        return tokens_of(data.text, ids, inside, prompt=prompt)

    def _read(self, data: Document, call: Call) -> tuple[str, str, bool]:
        """Return the instruction before a text, both together, and True if special tokens are added.

        Raises:
            InvalidInputError: If the chat template changes the text.
        """
        params = call.params
        prompt, messages = self.embed.prompts.of(params), self.embed.steps.of_type(TextMessages)
        if messages is None:
            special = data.prompt.add_special_tokens if params.add_special_tokens is None else params.add_special_tokens
            return prompt, prompt + data.text, special
        whole = messages.render(data.text, prompt, input_type(call.options))
        before, match, _ = whole.rpartition(data.text)
        if not match:
            message = (
                "the model's chat template changes the text (such as the spaces at its ends), so the tokens of its "
                "chunks cannot be located: strip it, or pass method='naive'"
            )
            raise InvalidInputError(message, parameter="prompts")
        return before, whole, False

    def _late(
        self, tokens: Tokens, chunks: Sequence[Span], all_spans: tuple[Span, ...], data: Document, call: Call
    ) -> Job:
        params = call.params
        if params.pad_prompt_tokens:
            message = "padding='max_length' is not supported with late chunking: pass method='naive'"
            raise InvalidInputError(message, parameter="padding")
        ids = np.asarray(tokens.ids, dtype=np.int64)
        begin, end = tokens.content
        head, tail = ids[:begin], ids[end:]
        max_tokens = self.ctx.model.max_model_len - len(head) - len(tail)
        self._check_sizes(chunks, all_spans, max_tokens)
        exclude = self.embed.steps.of_type(ExcludePrompt)
        first = 0 if exclude is None else exclude.first_pooled(data.prompt, sequence_of(ids), call)
        chunks_by_window: dict[Span, list[int]] = defaultdict(list)
        for number, window in enumerate(choose_windows(chunks, (begin, end), max_tokens)):
            chunks_by_window[window].append(number)
        sequences = []
        for window, numbers in sorted(chunks_by_window.items()):
            shift = begin - window[0]
            size = len(head) + window[1] - window[0] + len(tail)
            spans = []
            for start, stop in (chunks[number] for number in numbers):
                last = size if stop == end else stop + shift
                spans.append((min(first, last - 1) if start == begin else start + shift, last))
            sequences.append(
                PoolingRequest(
                    input_ids=np.concatenate([head, ids[window[0] : window[1]], tail]),
                    representations=tuple(Representation("embed", params, span) for span in spans),
                    whole=ids,
                )
            )
        by_sequence = tuple(tuple(numbers) for _, numbers in sorted(chunks_by_window.items()))
        return ChunksJob(sequences=tuple(sequences), text=data.text, spans=all_spans, chunks=by_sequence)

    def _check_sizes(self, chunks: Sequence[Span], spans: Sequence[Span], max_tokens: int) -> None:
        for number, (start, stop) in enumerate(chunks):
            if stop - start > max_tokens:
                message = (
                    f"chunk {number}, the characters {spans[number]}, has {stop - start} tokens; the model reads at "
                    f"most {max(max_tokens, 0)} in addition to special tokens and the prompt: split the text into "
                    "smaller chunks, or embed each separately and in pieces with method='naive', on_overflow='chunk'"
                )
                raise InvalidInputError(message, parameter="spans")

    def _naive(self, spans: tuple[Span, ...], data: Document, call: Call) -> Job:
        default = self.embed.prompt_tokenizer.lengths.default
        overflow = call.params.on_overflow or ("chunk" if default == "chunk" else "error")
        chunk_call = replace(call, params=call.params.model_copy(update={"on_overflow": overflow}))
        prompts = [replace(data.prompt, text=data.text[start:stop]) for start, stop in spans]
        jobs = self.embed.encode_prompts(prompts, chunk_call)
        for number, job in enumerate(jobs):
            if isinstance(job.error, InvalidInputError):
                message = f"chunk {number}, the characters {spans[number]}: {job.error.message}"
                raise InvalidInputError(message, parameter=job.error.parameter) from job.error
        sequences = tuple(sequence for job in jobs for sequence in job.sequences)
        all_ids = np.concatenate([sequence.input_ids for sequence in sequences])
        for sequence in sequences:
            sequence.whole = all_ids
        return ChunksJob(sequences=sequences, text=data.text, spans=spans, naive=tuple(jobs))
