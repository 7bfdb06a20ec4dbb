"""Checks of the records of published models."""

from collections.abc import Iterator, Mapping

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import PublishedModelSpec, RerankTemplate
from millpond.testing.records.common import Fault


def published_fields(registry: Registry, entry: Entry[PublishedModelSpec]) -> Iterator[Fault]:
    """Check the name, the keys for config.json, and the templates."""
    del registry
    spec = entry.spec
    if "/" not in spec.name:
        yield Fault(f"name={spec.name!r} lacks the organisation", "write 'organisation/model'")
    if not isinstance(spec.config, Mapping) or not all(isinstance(key, str) for key in spec.config):
        yield Fault(f"the config of {spec.name!r} is not an object", "pass a mapping with names as keys")
    if not all(isinstance(text, str) for item in spec.prompts.items() for text in item):
        yield Fault(f"the prompts of {spec.name!r} are not texts by name", "pass {'query': 'query: '}")
    if spec.chat_template is not None:
        yield from _chat_template_faults(spec.name, spec.chat_template)
    if spec.rerank_template is not None:
        yield from _rerank_template_faults(spec.name, spec.rerank_template)


def _chat_template_faults(name: str, template: str) -> Iterator[Fault]:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415  only few records have templates
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  as above

    try:
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateSyntaxError as error:
        yield Fault(f"the chat_template of {name!r} is not Jinja: {error}", "correct the template")


def _rerank_template_faults(name: str, template: RerankTemplate) -> Iterator[Fault]:
    try:
        text = "".join(template.filled("<query>", "<document>", "<instruction>"))
    except (IndexError, KeyError, ValueError) as error:
        fix = "use {query}, {document} and {instruction} only; write a brace as {{"
        yield Fault(f"the rerank_template of {name!r} cannot be filled: {type(error).__name__}: {error}", fix)
        return
    for part in ("query", "document"):
        if f"<{part}>" not in text:
            yield Fault(f"the rerank_template of {name!r} leaves the {part} out", f"add {{{part}}} to its pieces")
