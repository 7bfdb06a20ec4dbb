"""The IO processor of ``LLM.embed_chunks``: one vector a chunk of a text, pooled late or embedded alone.

Late chunking: the model reads the whole text, and the pooler of ``embed`` is applied to the tokens of each chunk
(Günther et al. 2024, arXiv 2409.04701). As in section 4.1 there, the tokens before the text, special ones and those of
a prompt, are of the chunk that begins it, and those behind it of the chunk that ends it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Work
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ChunksOutput
from millpond.types.prompts import Prompt, TextInChunks, parse_prompt
from millpond_io.chunking.options import Cut, read_cut, split_call
from millpond_io.chunking.spans import Span, Tokens, characters_of, chunks_of_spans, chunks_of_tokens, tokens_of
from millpond_io.chunking.windows import choose_windows
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.tasks.embed import EmbedProcessor
from millpond_io.text.processor import encode_valid
from millpond_io.text.prompt_tokenizer import EMPTY, TokenizedPrompt

NO_ROUTES = "Queries and documents of this model take different routes, and chunks of texts are not told apart as such."


@dataclass(frozen=True)
class Document:
    """A text, how it is cut, and how its chunks are embedded."""

    prompt: Prompt
    text: str
    cut: Cut
    is_late: bool


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ChunksWork(Work):
    """The sequences of a document.

    Attributes:
        text: The document.
        spans: The characters of each chunk.
        places: For each sequence of a document that is pooled late, the chunks that its results are of.
        naive: The work of each chunk that is embedded alone.
    """

    text: str
    spans: tuple[Span, ...]
    places: tuple[tuple[int, ...], ...] = ()
    naive: tuple[Work, ...] = ()


class ChunksProcessor(IOProcessor[ChunksOutput]):
    """Texts to the vectors of their chunks."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.embed = EmbedProcessor(replace(ctx, task="embed"))

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model does not serve the task; None if it does."""
        return NO_ROUTES if ctx.model.retrieval.routes else super().refusal(ctx)

    def items(self, prompts: object) -> list[object]:
        """Return the texts of a call, each with how it is cut."""
        return list(split_call(prompts))

    def encode(self, call: Call) -> list[Work]:
        """Read texts, and tokenise their windows or chunks."""
        return encode_valid(call.items, self._read_document, self._encode_documents)

    def _encode_documents(self, documents: Sequence[tuple[Document, Asked]]) -> list[Work]:
        works: list[Work] = []
        for document, asked in documents:
            try:
                works.append(self._work(document, asked))
            except InvalidInputError as error:
                works.append(Work(error=error))
        return works

    def _read_document(self, data: object) -> Document:
        """Check one text and its spans."""
        if not isinstance(data, TextInChunks):
            message = f"expected a text and how it is cut; got {type(data).__name__}"
            raise InvalidInputError(message, parameter="prompts")
        prompt = parse_prompt(data.text)
        if prompt.conversation is not None:
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

    def complete(self, asked: Asked) -> Asked:
        """Complete what is asked as for ``embed``; ``on_overflow`` stays as the call specifies it.

        Raises:
            InvalidInputError: If texts are to be cut: the chunks would be of less than was asked for.
        """
        params = asked.params
        for name in ("truncate_prompt_tokens", "on_overflow"):
            if getattr(params, name) not in (None, "error", "chunk"):
                message = (
                    f"{name}={getattr(params, name)!r}: embed_chunks cuts nothing off. A text over the model's maximum "
                    "is read in windows; on_overflow='error' refuses it"
                )
                raise InvalidInputError(message, parameter=name)
        completed = self.embed.complete(replace(asked, params=params.model_copy(update={"task": None})))
        return replace(completed, params=completed.params.model_copy(update={"on_overflow": params.on_overflow}))

    def _work(self, data: Document, asked: Asked) -> Work:
        """The sequences of a text: of its windows where it is pooled late, else of its chunks."""
        tokens = self._tokens(data, asked)
        if data.cut.spans is not None:
            spans = data.cut.spans
            chunks = chunks_of_spans(tokens, spans, data.text)
        else:
            chunks = chunks_of_tokens(tokens, data.cut.size, data.cut.overlap)
            spans = tuple(characters_of(tokens, chunk) for chunk in chunks)
        if not chunks:
            message = "the text has no tokens: there is nothing to cut into chunks"
            raise InvalidInputError(message, parameter="prompts")
        return self._late(tokens, chunks, spans, data, asked) if data.is_late else self._naive(spans, data, asked)

    def decode(self, work: Work) -> ChunksOutput:
        """Return the vectors of a text's chunks, [num_chunks, dim]."""
        assert isinstance(work, ChunksWork)  # noqa: S101  made by ``encode``
        if work.naive:
            vectors = [self.embed.decode(each).array for each in work.naive]
        else:
            found: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
            for places, sequence in zip(work.places, work.sequences, strict=True):
                found |= zip(places, sequence.results, strict=True)
            vectors = [found[place] for place in sorted(found)]
        return ChunksOutput(np.stack(vectors), spans=work.spans, text=work.text)

    def _tokens(self, data: Document, asked: Asked) -> Tokens:
        """The text as the model would read it whole."""
        params = asked.params
        prompt, text, special = self._read(data, asked)
        lengths = self.embed.prompt_tokenizer.lengths
        refuses = params.on_overflow == "error" and data.is_late
        limits = params.model_copy(update={"on_overflow": "error" if refuses else "chunk"})
        lengths.check_characters(text, limits)
        ids, offsets = self.embed.prompt_tokenizer.encode_with_offsets(text, special=special)
        lengths.check_tokens(len(ids), limits)
        end = len(prompt) + len(data.text)
        inside = [(start, min(stop, end)) if start < end else (0, 0) for start, stop in offsets]
        return tokens_of(data.text, ids, inside, prompt=prompt)

    def _read(self, data: Document, asked: Asked) -> tuple[str, str, bool]:
        """The characters before a text, all that the model reads, and whether special tokens are added to that.

        Raises:
            InvalidInputError: If the chat template that writes the text as a message changes it.
        """
        params = asked.params
        prompt, messages = self.embed.prompts.of(params), self.embed.messages
        if messages is None:
            special = data.prompt.add_special_tokens if params.add_special_tokens is None else params.add_special_tokens
            return prompt, prompt + data.text, special
        whole = messages.render(data.text, prompt, input_type(asked.options))
        before, found, _ = whole.rpartition(data.text)
        if not found:
            message = (
                "the chat template by which the model reads a text changes that text (such as the spaces at its ends), "
                "so the tokens of its chunks cannot be located: strip it, or pass method='naive'"
            )
            raise InvalidInputError(message, parameter="prompts")
        return before, whole, False

    def _late(
        self, tokens: Tokens, chunks: Sequence[Span], all_spans: tuple[Span, ...], data: Document, asked: Asked
    ) -> Work:
        params = asked.params
        if params.pad_prompt_tokens:
            message = (
                "padding='max_length' is not supported where the chunks of one text are pooled: pass method='naive'"
            )
            raise InvalidInputError(message, parameter="padding")
        ids = np.asarray(tokens.ids, dtype=np.int64)
        begin, end = tokens.content
        head, tail = ids[:begin], ids[end:]
        room = self.ctx.model.max_model_len - len(head) - len(tail)
        self._check_room(chunks, all_spans, room)
        first = self.embed.first_pooled(data.prompt, TokenizedPrompt(ids), asked)
        held: dict[Span, list[int]] = defaultdict(list)
        for place, window in enumerate(choose_windows(chunks, (begin, end), room)):
            held[window].append(place)
        sequences = []
        for window, places in sorted(held.items()):
            shift = begin - window[0]
            size = len(head) + window[1] - window[0] + len(tail)
            spans = []
            for start, stop in (chunks[place] for place in places):
                last = size if stop == end else stop + shift
                spans.append((min(first, last - 1) if start == begin else start + shift, last))
            sequences.append(
                PoolingRequest(
                    input_ids=np.concatenate([head, ids[window[0] : window[1]], tail]),
                    representations=tuple(Representation("embed", params, span) for span in spans),
                    whole=ids,
                )
            )
        each = tuple(tuple(places) for _, places in sorted(held.items()))
        return ChunksWork(sequences=tuple(sequences), text=data.text, spans=all_spans, places=each)

    def _check_room(self, chunks: Sequence[Span], spans: Sequence[Span], room: int) -> None:
        for place, (start, stop) in enumerate(chunks):
            if stop - start > room:
                message = (
                    f"chunk {place}, the characters {spans[place]}, has {stop - start} tokens, and the model reads "
                    f"{max(room, 0)} beside the special tokens and the prompt: cut the text into smaller chunks, or "
                    "embed each alone and in pieces with method='naive', on_overflow='chunk'"
                )
                raise InvalidInputError(message, parameter="spans")

    def _naive(self, spans: tuple[Span, ...], data: Document, asked: Asked) -> Work:
        default = self.embed.prompt_tokenizer.lengths.default
        overflow = asked.params.on_overflow or ("chunk" if default == "chunk" else "error")
        own = replace(asked, params=asked.params.model_copy(update={"on_overflow": overflow}))
        works = self.embed.encode_prompts(
            [(replace(data.prompt, text=data.text[start:stop]), own) for start, stop in spans]
        )
        for place, work in enumerate(works):
            if isinstance(work.error, InvalidInputError):
                message = f"chunk {place}, the characters {spans[place]}: {work.error.message}"
                raise InvalidInputError(message, parameter=work.error.parameter) from work.error
        sequences = tuple(sequence for work in works for sequence in work.sequences)
        read = np.concatenate([sequence.input_ids for sequence in sequences])
        for sequence in sequences:
            sequence.whole = read
        return ChunksWork(sequences=sequences, text=data.text, spans=spans, naive=tuple(works))
