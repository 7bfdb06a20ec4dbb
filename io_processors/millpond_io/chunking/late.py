"""LateChunking: the step that pools the token vectors of chunks of a text, for ``late_chunking_params``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call
from millpond.types.errors import InvalidInputError
from millpond.types.late_chunking import LateChunk, LateChunkingMetadata
from millpond.types.outputs import PoolingOutput, TokenEmbeddingsOutput
from millpond_io.chat.images import template_of_texts
from millpond_io.text.prompt_tokenizer import PromptTokenizer
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt, TextJob

MIN_NORM = 1e-12
NOTE = "late_chunking"
PROBE = (-2.0, -0.5, 0.0, 0.5, 2.0)  # values that distinguish the identity from other activations


@dataclass(frozen=True)
class Chunked:
    """The chunks of a text; ``normalizes`` is True if their vectors are normalized."""

    metadata: LateChunkingMetadata
    normalizes: bool


def check_late_chunking(ctx: TaskContext, call: Call) -> None:
    """Check the parameters of a call with late chunking.

    Raises:
        InvalidInputError: Another parameter is not supported with late chunking, or the model does not support it.
    """
    params = call.params
    if ctx.task != "token_embed":
        message = (
            f"Late chunking requires token_embed; the task is {ctx.task!r}. encode(..., pooling_task='token_embed') "
            "requests it, and embed uses it if the model is loaded with PoolerConfig(task='token_embed')"
        )
        raise InvalidInputError(message, parameter="late_chunking_params")
    used = [
        name
        for name in ("dimensions", "truncate_prompt_tokens", "pad_prompt_tokens", "prompt", "prompt_name", "adapter")
        if getattr(params, name) is not None
    ]
    used += [name for name, value in call.options or () if value is not None]
    if params.on_overflow == "truncate":
        used.append("on_overflow")
    if used:
        message = (
            f"Late chunking does not support dimension reduction, padding, truncation or prompts: remove {used[0]}"
        )
        raise InvalidInputError(message, parameter=used[0])
    if ctx.rows_after_pooling is not None and not _is_linear(ctx.rows_after_pooling):
        message = (
            f"Late chunking does not support {ctx.model.model!r}: its Dense modules are not linear, so they cannot be "
            "applied before the mean"
        )
        raise InvalidInputError(message, parameter="late_chunking_params")


class LateChunking(TextStep):
    """Pools the token vectors of a text in chunks of a number of tokens."""

    @cached_property
    def prompt_tokenizer(self) -> PromptTokenizer:
        """The tokenizer with offsets; most models never need it."""
        return PromptTokenizer(self.ctx)

    @cached_property
    def in_messages(self) -> bool:
        """True if the chat template renders texts."""
        return template_of_texts(self.ctx) is not None

    def on_prompt(self, prompt: Prompt, call: Call) -> None:
        """Check that the prompt is a plain text."""
        if call.params.late_chunking_params is None:
            return
        if self.in_messages:
            message = "Late chunking does not support models that render texts with a chat template"
            raise InvalidInputError(message, parameter="late_chunking_params")
        if not prompt.text or prompt.multi_modal_data is not None:
            message = "Late chunking requires nonempty plain-text input"
            raise InvalidInputError(message, parameter="late_chunking_params")

    def on_tokens(self, job: TextJob) -> None:
        """Locate the chunks of a text, and request token vectors that are not normalized."""
        params, prompt, (sequence,) = job.call.params, job.prompt, job.sequences
        if params.late_chunking_params is None:
            return
        ids, offsets = self.prompt_tokenizer.encode_with_offsets(prompt.text or "", special=prompt.add_special_tokens)
        if ids != sequence.input_ids.tolist():
            message = "Late chunking requires token offsets, but the tokens of the text differ from those of the prompt"
            raise InvalidInputError(message, parameter="late_chunking_params")
        raw = params.model_copy(update={"use_activation": False})
        sequence.representations = tuple(each._replace(params=raw) for each in sequence.representations)
        chunks = late_chunks(offsets, params.late_chunking_params.chunk_size)
        job.notes[NOTE] = Chunked(chunks, params.use_activation is not False)

    def on_output(self, output: PoolingOutput, job: TextJob) -> PoolingOutput:
        """Return the vectors of the chunks."""
        chunked = job.notes.get(NOTE)
        return chunks_of(output.array, chunked) if isinstance(chunked, Chunked) else output


def chunks_of(array: NDArray[np.float32], chunked: Chunked) -> TokenEmbeddingsOutput:
    """Return the vectors of the chunks.

    Args:
        array: The vectors of all tokens, [num_tokens, dim].
        chunked: The chunks.

    Raises:
        InvalidInputError: The model does not return a vector for each token.
    """
    metadata = chunked.metadata
    if len(array) != metadata.input_tokens:
        message = (
            f"Late chunking requires a vector for every token; the model returned {len(array)} for "
            f"{metadata.input_tokens} tokens"
        )
        raise InvalidInputError(message, parameter="late_chunking_params")
    means = np.stack([array[slice(*chunk.token_range)].mean(axis=0) for chunk in metadata.chunks])
    if chunked.normalizes:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), MIN_NORM)
    return TokenEmbeddingsOutput(means, late_chunking=metadata)


def _is_linear(modules: nn.Module) -> bool:
    probe = torch.tensor(PROBE)
    activations = [getattr(layer, "activation", None) for layer in modules.children()]
    return all(activation is not None and torch.equal(activation(probe), probe) for activation in activations)


def late_chunks(offsets: Sequence[tuple[int, int]], chunk_size: int) -> LateChunkingMetadata:
    """Return the ranges of the chunks of a text.

    Args:
        offsets: The characters of each token, (start, end); empty ranges for special tokens.
        chunk_size: The number of tokens of a chunk.
    """
    chunks = []
    for start in range(0, len(offsets), chunk_size):
        chunk = offsets[start : start + chunk_size]
        ranges = [(first, last) for first, last in chunk if first < last]
        characters = (min(first for first, _ in ranges), max(last for _, last in ranges)) if ranges else None
        chunks.append(LateChunk((start, start + len(chunk)), characters))
    return LateChunkingMetadata(chunk_size=chunk_size, input_tokens=len(offsets), chunks=tuple(chunks))
