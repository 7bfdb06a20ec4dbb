"""Late chunking as Jina has it: the inputs of a body are read as one text, of which each is a chunk."""

from typing import Any

from millpond import AsyncLLM, PoolingParams
from millpond.types.outputs import EmbeddingOutput, EmbeddingRequestOutput, PoolingRequestOutput
from millpond_server.apis.common.input_type import purpose
from millpond_server.apis.common.inputs import read_inputs
from millpond_server.apis.openai.schemas import EmbeddingRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

BETWEEN = " "  # inputs that become one text


async def in_chunks(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> list[PoolingRequestOutput[Any]]:
    """One vector an input, each of its tokens as the model reads them among those of all inputs.

    Raises:
        ApiError: 400 for inputs that are not texts.
    """
    texts = read_inputs(request.input, call.settings.limits, llm)
    if request.modality != "text" or not all(isinstance(text, str) for text in texts):
        message = "late_chunking=true reads all inputs as one text: they must be texts"
        raise ApiError(400, message, parameter="late_chunking", reason="invalid")
    options: dict[str, Any] = request.options()
    options.pop("truncate_prompt_tokens", None)  # a text of any length is read, in windows
    if not options.keys() & {"prompt", "prompt_name"}:
        options |= purpose(request.task or request.input_type, llm)
    (output,) = await llm.embed_chunks(
        BETWEEN.join(texts),
        spans=spans_of(texts),
        pooling_params=PoolingParams(dimensions=request.dimensions, use_activation=request.use_activation),
        priority=request.priority + call.priority,
        **options,
    )
    whole, none = output.prompt_token_ids, list[int]()
    return [
        EmbeddingRequestOutput(
            request_id=output.request_id,
            outputs=EmbeddingOutput(row),
            prompt_token_ids=none if place else whole,  # of one text, which is counted once
        )
        for place, row in enumerate(output.outputs.array)
    ]


def spans_of(texts: list[str]) -> list[tuple[int, int]]:
    """The characters of each text in all of them joined."""
    spans: list[tuple[int, int]] = []
    start = 0
    for text in texts:
        spans.append((start, start + len(text)))
        start += len(text) + len(BETWEEN)
    return spans
