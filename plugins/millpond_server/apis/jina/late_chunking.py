"""Jina's late chunking: all inputs are read as one text, and each is a chunk of it."""

from typing import Any

from millpond import AsyncLLM, PoolingParams
from millpond.types.outputs import EmbeddingOutput, EmbeddingRequestOutput, PoolingRequestOutput
from millpond_server.apis.common.input_type import input_type_options
from millpond_server.apis.common.inputs import read_inputs
from millpond_server.apis.openai.schemas import EmbeddingRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

SEPARATOR = " "


async def embed_chunks(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> list[PoolingRequestOutput[Any]]:
    """Return one vector per input, pooled from the token vectors of the joined text.

    Raises:
        ApiError: 400 for inputs that are not texts, or with the parameters of vLLM's late chunking.
    """
    if request.late_chunking_params is not None:
        message = "late_chunking and late_chunking_params are two methods: pass one of them"
        raise ApiError(400, message, parameter="late_chunking_params", reason="invalid")
    texts = read_inputs(request.input, call.settings.limits, llm)
    if request.modality != "text" or not all(isinstance(text, str) for text in texts):
        message = "late_chunking=true reads all inputs as one text: they must be texts"
        raise ApiError(400, message, parameter="late_chunking", reason="invalid")
    options: dict[str, Any] = request.options()
    options.pop("truncate_prompt_tokens", None)  # texts of any length are read, in windows
    if not options.keys() & {"prompt", "prompt_name"}:
        options |= input_type_options(request.task or request.input_type, llm)
    (output,) = await llm.embed_chunks(
        SEPARATOR.join(texts),
        spans=spans_of(texts),
        pooling_params=PoolingParams(dimensions=request.dimensions, use_activation=request.use_activation),
        priority=request.priority + call.priority,
        **options,
    )
    return [
        EmbeddingRequestOutput(
            request_id=output.request_id,
            outputs=EmbeddingOutput(row),
            prompt_token_ids=[] if index else output.prompt_token_ids,  # the joined text counts once for the usage
        )
        for index, row in enumerate(output.outputs.array)
    ]


def spans_of(texts: list[str]) -> list[tuple[int, int]]:
    """Return the start and end of each text in the joined text, in characters."""
    spans: list[tuple[int, int]] = []
    start = 0
    for text in texts:
        spans.append((start, start + len(text)))
        start += len(text) + len(SEPARATOR)
    return spans
