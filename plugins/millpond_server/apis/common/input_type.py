"""Input types of Cohere and Jina, such as `search_query`: the prompts and adapters of a model that they select."""

from collections.abc import Collection, Mapping
from typing import Any

from millpond import AsyncLLM
from millpond_server.http.errors import ApiError, short_repr, shortened

# The input types of Cohere, with the names of prompts and adapters that have the same meaning.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "search_query": ("query", "retrieval.query", "web_search_query", "s2p_query", "retrieval_query"),
    "search_document": ("document", "passage", "retrieval.passage", "corpus", "retrieval_document"),
    "classification": ("Classification",),
    "clustering": ("Clustering", "separation"),
    "image": (),
}
COHERE_TYPES = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
ENCODER_INPUT_TYPES = {"search_query": "query", "search_document": "document"}


def input_type_options(input_type: str | None, llm: AsyncLLM, task: str = "embed") -> dict[str, Any]:
    """Return the options of `AsyncLLM` for an input type: the adapter or the prompt that it selects.

    An adapter includes its prompt. For a model that encodes queries and documents with different modules, the options
    also contain ``input_type``; for token vectors of late interaction nothing else, because it includes the prompt. An
    input type that the model does not know selects nothing.
    """
    cohere_type = COHERE_TYPES.get(input_type or "", input_type or "")
    encoder_type = ENCODER_INPUT_TYPES.get(cohere_type)
    config = llm.model_config
    if task == "token_embed" and encoder_type is not None and config.retrieval.late_interaction is not None:
        return {"input_type": encoder_type}
    options: dict[str, Any] = {"input_type": encoder_type} if encoder_type in config.retrieval.routes else {}
    for names, option in ((config.prompting.adapters, "adapter"), (config.prompting.prompts, "prompt_name")):
        name = _matching_name(input_type, names)
        if name is not None:
            return {**options, option: name}
    return options


def check_input_type(input_type: str | None, llm: AsyncLLM) -> None:
    """Check that the meaning of an input type is known, or that the model has a prompt or an adapter of this name.

    Cohere's clients require the field, so every model accepts Cohere's types, and the names with the same meaning.

    Raises:
        ApiError: 400 for any other input type.
    """
    if input_type is None or input_type in SYNONYMS or input_type in COHERE_TYPES:
        return
    if input_type_options(input_type, llm):
        return
    prompting = llm.model_config.prompting
    names = dict.fromkeys([*prompting.adapters, *prompting.prompts, *SYNONYMS])
    message = f"Unsupported input_type {short_repr(input_type)}. Supported values: {', '.join(names)}"
    raise ApiError(400, shortened(message), parameter="input_type", reason="invalid")


def _matching_name(input_type: str | None, names: Collection[str]) -> str | None:
    if input_type is None or input_type in names:
        return input_type
    cohere_type = COHERE_TYPES.get(input_type, input_type)
    return next((name for name in (cohere_type, *SYNONYMS.get(cohere_type, ())) if name in names), None)
