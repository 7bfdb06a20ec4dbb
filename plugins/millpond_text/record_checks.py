"""Checks of text steps for ``millpond plugins doctor``."""

from collections.abc import Iterator
from typing import Any

from millpond.model.spec import ResolvedModel
from millpond.plugin.registry import Entry, Registry
from millpond.testing.records.common import Fault, signature_faults
from millpond_text.kinds import TextStep, TextStepSpec
from millpond_text.steps import misplaced, ordered_steps


def text_step_fields(registry: Registry, entry: Entry[TextStepSpec]) -> Iterator[Fault]:
    """Check that the step has a place, and that its tasks and its setting exist."""
    if entry not in ordered_steps(registry):
        yield Fault(misplaced(registry, entry), "name the step that it directly follows")
    for task in entry.spec.tasks:
        if registry.tasks.find(task) is None:
            yield Fault(f"its task {task!r} is unknown", f"use some of {', '.join(registry.tasks.names())}")
    group = (entry.spec.when or "text").partition(".")[0]
    if group not in ResolvedModel.__dataclass_fields__:
        fields = ", ".join(ResolvedModel.__dataclass_fields__)
        yield Fault(f"its setting {entry.spec.when!r} does not exist", f"begin with one of {fields}")


def text_step_target(registry: Registry, entry: Entry[TextStepSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a step, or a function of the context."""
    del registry, entry
    if isinstance(target, type) and not issubclass(target, TextStep):
        yield Fault(f"its target {target.__name__} is not a TextStep", "derive it from millpond_text.kinds.TextStep")
    yield from signature_faults("target", target, ("ctx",))
