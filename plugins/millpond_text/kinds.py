"""The kind of records of this kit: text steps, and the contract of their targets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec

if TYPE_CHECKING:
    from millpond.context import TaskContext
    from millpond.pipeline.io_processor import Call
    from millpond.plugin.registry import Registry
    from millpond_text.prompt import Prompt, TextJob


class TextStep:
    """One step between a text and its sequences, or between their results and its output.

    Override the methods for the places where it has something to do; the others are not called. Several threads call
    them, so they keep no state of a call on the object.

    Attributes:
        reads_input_type: True if it distinguishes queries and documents by ``input_type`` in the options of a call.
    """

    reads_input_type: bool = False

    def __init__(self, ctx: "TaskContext") -> None:
        self.ctx = ctx

    def on_prompt(self, prompt: "Prompt", call: "Call") -> None:
        """Change a prompt before it is tokenized. It has token ids in place of a text if the caller passed these.

        Raises:
            InvalidInputError: If the prompt is not supported; it does not affect the other prompts of the call.
        """

    def on_tokens(self, job: "TextJob") -> None:
        """Change or replace the sequences of a prompt after it was tokenized: at first there is one.

        Raises:
            InvalidInputError: As above.
        """

    def on_output(self, output: Any, job: "TextJob") -> Any:  # noqa: ARG002  for subclasses
        """Return the output of a prompt, made from the output of the steps before, such as a ``PoolingOutput``."""
        return output


@dataclass(frozen=True, kw_only=True)
class TextStepSpec(Spec):
    """A text step; target: ``(TaskContext) -> TextStep | None``, None if the model does not need it.

    Attributes:
        after: The name of the step that it directly follows; None for the first place.
        tasks: The tasks that it serves; empty for all that read texts.
        when: The path of a setting, such as ``retrieval.late_interaction``: models that have the setting use the step.
            With None, models use it whose ``text.steps`` names it.
    """

    kind: ClassVar[str] = "text_step"
    checks: ClassVar[str] = "millpond_text.record_checks"
    after: str | None = None
    tasks: tuple[str, ...] = ()
    when: str | None = None

    @staticmethod
    def require(registry: "Registry", names: Sequence[str]) -> None:
        """Check that steps exist and have a place in the order.

        Raises:
            UnknownNameError: If no plugin provides a step.
            PluginError: If a step follows an unknown step, or itself.
        """
        from millpond_text.steps import placed_steps  # noqa: PLC0415  only models that name steps need it

        placed_steps(registry, names)


@hookspec
def register_text_steps() -> Iterable[TextStepSpec]:
    """Declare text steps, which change texts before they are tokenized, their sequences, or their outputs.

    A model uses the steps that ``text.steps`` of its settings names: from ``LLM(..., text_steps=("name",))``, from the
    key ``text_steps`` of its config.json, or from the record of its architecture. Steps that name the same step under
    ``after`` have the order of their plugins and names; built-in ones are last.
    """
    return ()
