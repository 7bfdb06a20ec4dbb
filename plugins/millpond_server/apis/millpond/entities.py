"""``POST /entities``: the parts of texts that are something, with their characters."""

from dataclasses import asdict
from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.millpond.entity_schemas import EntitiesRequest
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.http.call import Call


async def entities(request: EntitiesRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The entities of a body's inputs."""
    outputs = await llm.entities(
        prompts_of(request, call.settings.limits, llm),
        aggregation=request.aggregation,
        ignore_labels=request.ignore_labels,
        priority=request.priority + call.priority,
        **request.options(),
    )
    found = ([asdict(entity) for entity in output.outputs] for output in outputs)
    return {
        "id": call.id("entities"),
        "object": "list",
        "created": call.created,
        "model": call.served.name,
        "data": [{"index": place, "entities": own} for place, own in enumerate(found)],
        "usage": usage_of(sum(output.num_prompt_tokens for output in outputs)),
    }
