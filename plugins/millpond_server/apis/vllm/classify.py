"""``POST /classify``: the classes of texts."""

from typing import Any

from millpond import AsyncLLM, PoolingParams
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.apis.vllm.classify_schemas import ClassificationRequest
from millpond_server.http.call import Call


async def classify(request: ClassificationRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The most probable class of each input, and the probabilities of all."""
    prompts = prompts_of(request, call.settings.limits, llm, pairs=True)
    outputs = await llm.classify(
        prompts,
        pooling_params=PoolingParams(use_activation=request.use_activation),
        priority=request.priority + call.priority,
        **request.options(),
    )
    labels = llm.model_config.labels
    data = []
    for place, output in enumerate(outputs):
        probs = output.outputs.array
        best = int(probs.argmax())
        label = labels[best] if best < len(labels) else None
        data.append({"index": place, "label": label, "probs": probs, "num_classes": len(probs)})
    return {
        "id": call.id("classify"),
        "object": "list",
        "created": call.created,
        "model": call.served.name,
        "data": data,
        "usage": usage_of(sum(output.num_prompt_tokens for output in outputs)),
    }
