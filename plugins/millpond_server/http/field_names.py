"""The fields of bodies that arguments of ``AsyncLLM`` come from: errors name what the client wrote."""

from collections.abc import Collection, Mapping

INPUTS = ("input", "inputs", "texts", "images", "messages", "prompt")
FIELDS: Mapping[str | None, tuple[str, ...]] = {
    "prompts": INPUTS,
    "prompt_token_ids": INPUTS,
    "multi_modal_data": INPUTS,
    "data_1": ("query", "queries", "text_1"),
    "data_2": ("documents", "items", "text_2", "texts"),
    "pooling_task": ("task",),
}


def given(body: object) -> frozenset[str]:
    """The names of a body's fields, without those that are null."""
    return (
        frozenset(name for name, value in body.items() if value is not None) if isinstance(body, dict) else frozenset()
    )


def field_of(parameter: str | None, fields: Collection[str]) -> str | None:
    """The field that an argument came from; the argument's own name where the body has none of those."""
    return next((name for name in FIELDS.get(parameter, ()) if name in fields), parameter)
