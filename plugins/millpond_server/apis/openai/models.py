"""``GET /v1/models``: the models of the server."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.openai.model_schemas import ModelCard, ModelList
from millpond_server.http.call import Call
from millpond_server.runtime.models import ServedModel


async def list_models(_: Any, __: AsyncLLM, call: Call) -> ModelList:
    """Every model under each of its names, the default one first."""
    return ModelList(data=[card(model, name) for model in call.models.served for name in model.names])


async def show_model(_: Any, __: AsyncLLM, call: Call) -> ModelCard:
    """One model."""
    name = call.path_values["id"]
    return card(call.models.get(name), name)


def card(served: ServedModel, name: str) -> ModelCard:
    """What is told of a model."""
    config, engine = served.llm.model_config, served.llm.engine
    waiting = float(engine.waiting_tokens)
    return ModelCard(
        id=name,
        created=served.created,
        root=served.name,  # not the folder that it is in, which is the operator's business
        max_model_len=config.max_model_len,
        tasks=list(served.llm.supported_tasks),
        embedding_size=config.embedding_size,
        matryoshka_dimensions=list(config.matryoshka_dimensions) if config.is_matryoshka else None,
        stats={
            "queue_fraction": waiting / engine.most_waiting_tokens,
            "queue_absolute": waiting,
            "results_pending": float(engine.pending),
            "batch_size": float(engine.engine.scheduler.max_num_seqs),
        },
    )
