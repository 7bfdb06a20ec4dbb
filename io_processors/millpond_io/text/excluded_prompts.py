"""ExcludePrompt: the step that excludes the tokens of an instruction from pooling, as INSTRUCTOR does."""

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import Call
from millpond.types.errors import InvalidInputError
from millpond_io.chat.images import template_of_texts
from millpond_io.text.named_prompts import NamedPrompts
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt, TextJob


class ExcludePrompt(TextStep):
    """Pools the tokens after an instruction.

    Special tokens before the instruction are excluded too, as in sentence-transformers.
    """

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.prompts = NamedPrompts(ctx)

    def on_tokens(self, job: TextJob) -> None:
        """Set the span that is pooled, except for tasks with a result per token."""
        sequence = job.sequences[0]
        first = self.first_pooled(job.prompt, sequence, job.call)
        if first:
            span, tasks = (first, len(sequence.input_ids)), self.ctx.registry.tasks
            sequence.representations = tuple(
                each if tasks.get(each.task).spec.per_token else each._replace(span=span)
                for each in sequence.representations
            )

    def first_pooled(self, prompt: Prompt, sequence: PoolingRequest, call: Call) -> int:
        """Return the index of the first token that is pooled: 0, or the first token after the instruction.

        Raises:
            InvalidInputError: If no token is left.
        """
        if prompt.text is None:
            return 0
        first = self.prompts.num_tokens(call.params, special=prompt.add_special_tokens)
        if first == 0:
            return 0
        special, model = self.prompts.special_ids, self.ctx.model
        ids: list[int] = sequence.input_ids.tolist()
        if call.params.truncation_side == "left":
            leading = next((index for index, token in enumerate(ids) if token not in special), len(ids))
            first = max(first - sequence.num_dropped_tokens, leading)
        first = min(first, len(ids) - (ids[-1] in special))
        if first >= min(len(ids), model.max_model_len):
            message = (
                f"the prompt takes {first} of the {len(ids)} tokens, and the model excludes prompts from pooling "
                f"(include_prompt): nothing is left of the text. Use a shorter prompt; {model.model!r} reads "
                f"{model.max_model_len} tokens"
            )
            raise InvalidInputError(message, parameter="prompt")
        return first


def exclude_prompt(ctx: TaskContext) -> ExcludePrompt | None:
    """Return the step of a model; None if instructions are pooled, as are those in a separate message."""
    is_pooled = ctx.model.prompting.include_prompt or ctx.task_spec.per_token or template_of_texts(ctx) is not None
    return None if is_pooled else ExcludePrompt(ctx)
