"""What texts are for, as clients of Cohere and Jina say it: which of the model's prompts that is, and which adapter."""

from collections.abc import Collection, Mapping
from typing import Any

from millpond import AsyncLLM

# What Cohere calls the purposes of texts, and the names of prompts and adapters that mean the same.
MEANINGS: Mapping[str, tuple[str, ...]] = {
    "search_query": ("query", "retrieval.query", "web_search_query", "s2p_query", "retrieval_query"),
    "search_document": ("document", "passage", "retrieval.passage", "corpus", "retrieval_document"),
    "classification": ("Classification",),
    "clustering": ("Clustering", "separation"),
    "image": (),
}
INPUT_TYPES = {"search_query": "query", "search_document": "document"}
MEANINGS_BACK = {other: name for name, others in MEANINGS.items() for other in others}


def purpose(named: str | None, llm: AsyncLLM) -> dict[str, Any]:
    """What a call says of a purpose: the adapter of that name or meaning, which brings its prompt, or the prompt alone.

    A model whose queries and documents take routes of their own gets the input type as well. A purpose that the model
    knows none of says nothing.
    """
    side = INPUT_TYPES.get(MEANINGS_BACK.get(named or "", named or ""))
    found: dict[str, Any] = {"input_type": side} if side in llm.model_config.retrieval.routes else {}
    adapters = llm.model_config.prompting.adapters
    for names, argument in ((adapters, "adapter"), (llm.model_config.prompting.prompts, "prompt_name")):
        name = _known(named, names)
        if name is not None:
            return {**found, argument: name}
    return found


def _known(named: str | None, names: Collection[str]) -> str | None:
    if named is None or named in names:
        return named
    meant = MEANINGS_BACK.get(named, named)
    return next((name for name in (meant, *MEANINGS.get(meant, ())) if name in names), None)
