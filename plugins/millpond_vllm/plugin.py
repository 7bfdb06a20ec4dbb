"""Registers the arguments of vLLM."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ServiceSpec


@hookimpl
def register_services() -> Iterator[ServiceSpec]:
    """Register the translation of vLLM's arguments."""
    yield ServiceSpec(
        name="vllm",
        role="arguments",
        target="millpond_vllm.dialect:VllmArguments",
        summary="Arguments of vLLM's LLM, translated, ignored or refused with the reason.",
    )
