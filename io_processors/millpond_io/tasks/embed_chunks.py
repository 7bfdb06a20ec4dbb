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
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ChunksOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt, TextInChunks, parse_prompt
from millpond_io.chunking.options import Cut, read_cut, split_call
from millpond_io.chunking.spans import Span, Tokens, characters_of, chunks_of_spans, chunks_of_tokens, tokens_of
from millpond_io.chunking.windows import choose_windows
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.tasks.embed import EmbedProcessor
from millpond_io.text.render import EMPTY, Rendered

NO_ROUTES = "Queries and documents of this model take different routes, and chunks of texts are not told apart as such."


@dataclass(frozen=True)
class Document:
    """A text, how it is cut, and how its chunks are embedded."""

    prompt: Prompt
    text: str
    cut: Cut
    is_late: bool


@dataclass(frozen=True)
class Note:
    """What of a document a request is for.

    Attributes:
        places: The chunks that its results are of, or that all its results make one of.
        spans: The characters of every chunk of the document.
        prompt: The document.
        is_late: Whether it has one result a chunk.
    """

    places: tuple[int, ...]
    spans: tuple[Span, ...]
    prompt: Prompt
    is_late: bool

    @property
    def text(self) -> str:
        """The text of the document."""
        return self.prompt.text or ""


class ChunksProcessor(IOProcessor[ChunksOutput]):
    """Texts to the vectors of their chunks."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.embed = EmbedProcessor(replace(ctx, task="embed"))

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model does not serve the task; None if it does."""
        return NO_ROUTES if ctx.model.routes else super().refusal(ctx)

    def split(self, call: object) -> list[object]:
        """The texts of a call, each with how it is cut."""
        return list(split_call(call))

    def parse(self, data: object) -> Document:
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
        text = self.embed.renderer.check(prompt).text
        if text is None:
            message = "embed_chunks takes texts, as chunks are spans of characters; these are token ids"
            raise InvalidInputError(message, parameter="prompts")
        if not text:
            raise InvalidInputError(EMPTY, parameter="prompts")
        return Document(prompt, text, read_cut(data, text), data.method == "late")

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed as for ``embed``; ``on_overflow`` stays as the call says it.

        Raises:
            InvalidInputError: If texts are to be cut: the chunks would be of less than was asked for.
        """
        asked = given or PoolingParams()
        for name in ("truncate_prompt_tokens", "on_overflow"):
            if getattr(asked, name) not in (None, "error", "chunk"):
                message = (
                    f"{name}={getattr(asked, name)!r}: embed_chunks cuts nothing off. A text over the model's maximum "
                    "is read in windows; on_overflow='error' refuses it"
                )
                raise InvalidInputError(message, parameter=name)
        completed = self.embed.pooling_params(asked.model_copy(update={"task": None}))
        return completed.model_copy(update={"on_overflow": asked.on_overflow})

    def pre_process(self, data: Document, params: PoolingParams) -> list[PoolingRequest]:
        """The requests of a text: of its windows where it is pooled late, else of its chunks."""
        tokens = self._tokens(data, params)
        if data.cut.spans is not None:
            spans = data.cut.spans
            chunks = chunks_of_spans(tokens, spans, data.text)
        else:
            chunks = chunks_of_tokens(tokens, data.cut.size, data.cut.overlap)
            spans = tuple(characters_of(tokens, chunk) for chunk in chunks)
        if not chunks:
            message = "the text has no tokens: there is nothing to cut into chunks"
            raise InvalidInputError(message, parameter="prompts")
        note = Note((), spans, data.prompt, data.is_late)
        return self._late(tokens, chunks, note, params) if data.is_late else self._naive(note, params)

    def post_process(self, requests: Sequence[PoolingRequest]) -> ChunksOutput:
        """The vectors of a text's chunks, [num_chunks, dim]."""
        notes = [request.note for request in requests if isinstance(request.note, Note)]
        found: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
        if notes[0].is_late:
            for note, request in zip(notes, requests, strict=True):
                found |= zip(note.places, request.results, strict=True)
        else:
            pieces: dict[int, list[PoolingRequest]] = defaultdict(list)
            for note, request in zip(notes, requests, strict=True):
                pieces[note.places[0]].append(request)
            found = {place: self.embed.post_process(own).array for place, own in pieces.items()}
        return ChunksOutput(
            np.stack([found[place] for place in sorted(found)]), spans=notes[0].spans, text=notes[0].text
        )

    def _tokens(self, data: Document, params: PoolingParams) -> Tokens:
        """The text as the model would read it whole."""
        prompt, text, special = self._read(data, params)
        lengths = self.embed.renderer.lengths
        refuses = params.on_overflow == "error" and data.is_late
        limits = params.model_copy(update={"on_overflow": "error" if refuses else "chunk"})
        lengths.check_characters(text, limits)
        ids, offsets = self.embed.renderer.encode_with_offsets(text, special=special)
        lengths.check_tokens(len(ids), limits)
        end = len(prompt) + len(data.text)
        inside = [(start, min(stop, end)) if start < end else (0, 0) for start, stop in offsets]
        return tokens_of(data.text, ids, inside, prompt=prompt)

    def _read(self, data: Document, params: PoolingParams) -> tuple[str, str, bool]:
        """The characters before a text, all that the model reads, and whether special tokens are added to that.

        Raises:
            InvalidInputError: If the chat template that writes the text as a message changes it.
        """
        prompt, messages = self.embed.prompts.of(params), self.embed.messages
        if messages is None:
            special = data.prompt.add_special_tokens if params.add_special_tokens is None else params.add_special_tokens
            return prompt, prompt + data.text, special
        whole = messages.render(data.text, prompt, input_type(params))
        before, found, _ = whole.rpartition(data.text)
        if not found:
            message = (
                "the chat template by which the model reads a text changes that text (such as the spaces at its ends), "
                "so the tokens of its chunks cannot be located: strip it, or pass method='naive'"
            )
            raise InvalidInputError(message, parameter="prompts")
        return before, whole, False

    def _late(self, tokens: Tokens, chunks: Sequence[Span], note: Note, params: PoolingParams) -> list[PoolingRequest]:
        if params.pad_prompt_tokens:
            message = (
                "padding='max_length' is not supported where the chunks of one text are pooled: pass method='naive'"
            )
            raise InvalidInputError(message, parameter="padding")
        ids = np.asarray(tokens.ids, dtype=np.int64)
        begin, end = tokens.content
        head, tail = ids[:begin], ids[end:]
        room = self.ctx.model.max_model_len - len(head) - len(tail)
        self._check_room(chunks, note.spans, room)
        first = self.embed.first_pooled(note.prompt, Rendered(ids), params)
        held: dict[Span, list[int]] = defaultdict(list)
        for place, window in enumerate(choose_windows(chunks, (begin, end), room)):
            held[window].append(place)
        requests = []
        for window, places in sorted(held.items()):
            shift = begin - window[0]
            size = len(head) + window[1] - window[0] + len(tail)
            spans = []
            for start, stop in (chunks[place] for place in places):
                last = size if stop == end else stop + shift
                spans.append((min(first, last - 1) if start == begin else start + shift, last))
            requests.append(
                PoolingRequest(
                    input_ids=np.concatenate([head, ids[window[0] : window[1]], tail]),
                    representations=tuple(Representation("embed", params, span) for span in spans),
                    note=replace(note, places=tuple(places)),
                    whole=ids,
                )
            )
        return requests

    def _check_room(self, chunks: Sequence[Span], spans: Sequence[Span], room: int) -> None:
        for place, (start, stop) in enumerate(chunks):
            if stop - start > room:
                message = (
                    f"chunk {place}, the characters {spans[place]}, has {stop - start} tokens, and the model reads "
                    f"{max(room, 0)} beside the special tokens and the prompt: cut the text into smaller chunks, or "
                    "embed each alone and in pieces with method='naive', on_overflow='chunk'"
                )
                raise InvalidInputError(message, parameter="spans")

    def _naive(self, note: Note, params: PoolingParams) -> list[PoolingRequest]:
        default = self.embed.renderer.lengths.default
        own = params.model_copy(
            update={"on_overflow": params.on_overflow or ("chunk" if default == "chunk" else "error")}
        )
        made = self.embed.pre_process_many(
            [(replace(note.prompt, text=note.text[start:stop]), own) for start, stop in note.spans]
        )
        requests: list[PoolingRequest] = []
        for place, result in enumerate(made):
            if isinstance(result, InvalidInputError):
                message = f"chunk {place}, the characters {note.spans[place]}: {result.message}"
                raise InvalidInputError(message, parameter=result.parameter) from result
            for request in result:
                request.note = replace(note, places=(place,))
                requests.append(request)
        read = np.concatenate([request.input_ids for request in requests])
        for request in requests:
            request.whole = read
        return requests
