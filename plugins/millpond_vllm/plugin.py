"""Registers the arguments of vLLM."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_vllm.kinds import DialectSpec


@hookimpl
def register_dialects() -> Iterator[DialectSpec]:
    """Register the translation of vLLM's arguments."""
    yield DialectSpec(
        name="vllm",
        target="millpond_vllm.dialect:VllmArguments",
        summary="Arguments of vLLM's LLM, translated, ignored or refused with the reason.",
    )
