"""TextSteps: the text steps of a model's task, in order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from millpond.engine.request import PoolingRequest
from millpond.plugin.blame import blamed, breach, build, described, is_foreign
from millpond.types.errors import PluginError
from millpond.types.outputs import PoolingOutput
from millpond_text.kinds import TextStep, TextStepSpec
from millpond_text.prompt import Prompt, TextJob

if TYPE_CHECKING:
    from millpond.context import TaskContext
    from millpond.plugin.registry import Entry, Registry

KIND = TextStepSpec.kind
MERGED_TASK = "embed"  # the only task whose IO processor merges the results of several sequences
Step = TypeVar("Step", bound=TextStep)


class TextSteps:
    """The text steps of a model's task.

    Attributes:
        by_name: The steps by name, in order.
        on_prompt: Their methods ``on_prompt``, of the steps that override it, in order.
        on_tokens: Their methods ``on_tokens``, likewise.
        on_output: Their methods ``on_output``, likewise.
        read_input_type: True if one of them reads the input type of a call.
    """

    def __init__(self, ctx: "TaskContext") -> None:
        """Load the steps."""
        built = [(entry, _built(entry, ctx)) for entry in chosen_steps(ctx)]
        steps = [(entry, step) for entry, step in built if step is not None]
        self.by_name: Mapping[str, TextStep] = {entry.spec.name: step for entry, step in steps}
        self.read_input_type = any(step.reads_input_type for _, step in steps)
        self.on_prompt = [_guarded(*it, "on_prompt", _check_prompt) for it in steps if _overrides(it[1], "on_prompt")]
        self.on_tokens = [_guarded(*it, "on_tokens", _check_job) for it in steps if _overrides(it[1], "on_tokens")]
        self.on_output = [_guarded(*it, "on_output", _check_output) for it in steps if _overrides(it[1], "on_output")]

    def of_type(self, step_type: type[Step]) -> Step | None:
        """Return the step of a class; None if the model does not use it."""
        return next((step for step in self.by_name.values() if isinstance(step, step_type)), None)


def ordered_steps(registry: "Registry") -> list["Entry[TextStepSpec]"]:
    """Return the records of all steps that have a place in the order.

    Each directly follows the step that it names. Those that name the same step have the order of their plugins and
    names; built-in ones are last, so that any place between two of them can be named.
    """
    followers: dict[str | None, list[Entry[TextStepSpec]]] = {}
    for entry in registry.catalog(KIND).entries():
        followers.setdefault(entry.spec.after, []).append(entry)

    def walk(name: str | None) -> Iterator["Entry[TextStepSpec]"]:
        for entry in sorted(followers.pop(name, ()), key=_rank):
            yield entry
            yield from walk(entry.spec.name)

    return list(walk(None))


def placed_steps(registry: "Registry", names: Sequence[str]) -> list["Entry[TextStepSpec]"]:
    """Return the records of steps that the settings of a model name.

    Raises:
        UnknownNameError: If no plugin provides a step.
        PluginError: If a step follows an unknown step, or itself.
    """
    named, ordered = [registry.catalog(KIND).get(name) for name in names], ordered_steps(registry)
    for entry in named:
        if entry not in ordered:
            raise PluginError(misplaced(registry, entry))
    return named


def chosen_steps(ctx: "TaskContext") -> list["Entry[TextStepSpec]"]:
    """Return the records of the steps of a model's task, in order."""
    named = placed_steps(ctx.registry, ctx.model.text.steps)
    return [
        entry
        for entry in ordered_steps(ctx.registry)
        if (entry in named or _has_setting(ctx, entry.spec.when)) and ctx.task in (entry.spec.tasks or (ctx.task,))
    ]


def step_of_plugin(ctx: "TaskContext") -> str | None:
    """Return the label of a step that is not built in; None if all are.

    Tasks whose results are spans of the caller's text refuse a model with one: it may change texts and their tokens.
    """
    return next((entry.label for entry in chosen_steps(ctx) if is_foreign(entry)), None)


def _has_setting(ctx: "TaskContext", path: str | None) -> bool:
    """Return True if a path of the resolved model is set."""
    value: Any = None if path is None else ctx.model
    for name in (path or "").split("."):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    is_empty = isinstance(value, tuple | Mapping) and not value
    return value is not None and value is not False and not is_empty


def _rank(entry: "Entry[TextStepSpec]") -> tuple[bool, str, str]:
    return not is_foreign(entry), entry.origin.plugin, entry.spec.name


def misplaced(registry: "Registry", entry: "Entry[TextStepSpec]") -> str:
    """Return why a step has no place in the order: it follows an unknown step, or itself."""
    path = [entry]
    while (following := registry.catalog(KIND).find(path[-1].spec.after or "")) is not None:
        if following in path:
            circle = " -> ".join(it.label for it in (*path[path.index(following) :], following))
            return f"{entry.label} has no place among the steps, because each of these follows the next: {circle}"
        path.append(following)
    available = ", ".join(it.spec.name for it in ordered_steps(registry))
    return f"{path[-1].label}: after={path[-1].spec.after!r} names no text step. Available: {available}"


def _built(entry: "Entry[TextStepSpec]", ctx: "TaskContext") -> TextStep | None:
    """Return a step; None if the model does not need it."""
    step = build(entry, ctx)
    if step is not None and not isinstance(step, TextStep):
        raise breach(entry, f"its target returned {described(step)}; expected a TextStep, or None")
    return step


def _overrides(step: TextStep, method: str) -> bool:
    return getattr(type(step), method) is not getattr(TextStep, method)


def _guarded(
    entry: "Entry[TextStepSpec]", step: TextStep, name: str, check: Callable[..., str | None]
) -> Callable[..., Any]:
    """Return a method of a step; that of a plugin with checks of what it does, which name the plugin."""
    method = getattr(step, name)
    return partial(_checked, entry, method, name, check) if is_foreign(entry) else method


def _checked(
    entry: "Entry[TextStepSpec]",
    method: Callable[..., Any],
    name: str,
    check: Callable[..., str | None],
    *arguments: Any,
) -> Any:
    with blamed(entry, f"failed in {name}"):
        result = method(*arguments)
    fault = check(result, *arguments)
    if fault is not None:
        raise breach(entry, f"{name} {fault}")
    return result


def _check_prompt(result: object, prompt: Prompt, call: object) -> str | None:
    """Return what is wrong with a prompt after a step of a plugin."""
    del call
    if result is not None:
        return f"changes the prompt in place and returns None; it returned {described(result)}"
    if not isinstance(prompt.text, str | None):
        return f"set prompt.text to {described(prompt.text)}; expected a str"
    return None


def _check_job(result: object, job: TextJob) -> str | None:
    """Return what is wrong with the sequences of a job after a step of a plugin."""
    if result is not None:
        return f"changes the job in place and returns None; it returned {described(result)}"
    sequences: Any = job.sequences
    if not isinstance(sequences, Sequence) or not sequences:
        return f"set job.sequences to {described(sequences)}; expected at least one PoolingRequest"
    if len(sequences) > 1 and job.call.params.task != MERGED_TASK:
        return f"set job.sequences to {len(sequences)} sequences; only the task {MERGED_TASK!r} merges their results"
    for sequence in sequences:
        if not isinstance(sequence, PoolingRequest):
            return f"set job.sequences to {described(sequences)} with {described(sequence)}; expected PoolingRequest"
        ids: Any = sequence.input_ids
        if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1 or not len(ids):
            return f"left a sequence with input_ids {described(ids)}; expected at least one id, [num_tokens] of int64"
        sequence.num_tokens = len(ids)
    return None


def _check_output(result: object, output: object, job: object) -> str | None:
    """Return what is wrong with an output of a step of a plugin."""
    del job
    if isinstance(output, PoolingOutput) and not isinstance(result, PoolingOutput):
        return f"returned {described(result)}; expected {type(output).__name__}"
    return None
