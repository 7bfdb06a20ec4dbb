"""TextMessages: the step that renders texts as messages, for sentence-transformers models that require it."""

from collections.abc import Sequence
from functools import lru_cache

from millpond.context import TaskContext
from millpond.model.tokenizer import Tokenizer
from millpond.pipeline.io_processor import Call
from millpond_io.chat.images import template_of_texts
from millpond_io.chat.roles import RoleTemplate
from millpond_io.chat.templates import JinjaTemplate
from millpond_io.retrieval.input_types import input_type
from millpond_io.text.named_prompts import NamedPrompts
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt

LIBRARY_SETTINGS = ("restore_suffix", "padding", "truncation", "max_length", "return_tensors")  # not variables
TASK = "task"
PROBE_TEXTS = ("0", "1 2 3 4")  # have no common last token, so common last tokens come from the template


class TextMessages(TextStep):
    """Renders a text as a user message, and an instruction as a system message before it.

    Attributes:
        reads_input_type: True if the template reads ``task``: "query" or "document" if the call specifies it.
    """

    def __init__(self, ctx: TaskContext, tokenizer: Tokenizer, template: JinjaTemplate) -> None:
        super().__init__(ctx)
        chat_template = tokenizer.chat_template
        settings = {} if chat_template is None else chat_template.settings
        variables = {name: value for name, value in settings.items() if name not in LIBRARY_SETTINGS}
        structured = chat_template is not None and chat_template.texts_as == "structured"
        self.tokenizer = tokenizer
        self.prompts = NamedPrompts(ctx)
        self.template = RoleTemplate(tokenizer, template, ctx.model.max_model_len, variables, structured=structured)
        self.restores = bool(settings.get("restore_suffix", True))
        self.reads_input_type = TASK in _variables_of(template.source)
        self._ending = lru_cache(maxsize=256)(self._find_ending)

    def on_prompt(self, prompt: Prompt, call: Call) -> None:
        """Render the text of a prompt, unless a conversation was rendered."""
        if prompt.text is None or prompt.is_written:
            return
        instruction, task = self.prompts.of(call.params), input_type(call.options)
        prompt.text = self.render(prompt.text, instruction, task)
        prompt.add_special_tokens = False
        prompt.ending = self._ending(instruction, task) if self.restores else ()

    def render(self, text: str, instruction: str, task: str | None) -> str:
        """Return the output of the template for a text and an instruction."""
        passes_task = task is not None and self.reads_input_type and TASK not in self.template.variables
        texts = {"system": instruction or None, "user": text}
        return self.template.render(texts, {TASK: task} if passes_task else {}, max_text_chars=len(text))

    def _find_ending(self, instruction: str, task: str | None) -> tuple[int, ...]:
        """Return the token ids that the template adds after a text, which truncation must keep."""
        first, second = (self._ids(self.render(text, instruction, task)) for text in PROBE_TEXTS)
        common = 0
        while common < min(len(first), len(second)) and first[-1 - common] == second[-1 - common]:
            common += 1
        return tuple(first[len(first) - common :]) if common < min(len(first), len(second)) else ()

    def _ids(self, text: str) -> Sequence[int]:
        (encoding,) = self.tokenizer.encode_batch([text], add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids


def text_messages(ctx: TaskContext) -> TextMessages | None:
    """Return the step of a model; None if its texts are not rendered."""
    template = template_of_texts(ctx)
    return None if template is None or ctx.tokenizer is None else TextMessages(ctx, ctx.tokenizer, template)


def _variables_of(source: str) -> set[str]:
    """Return the names of variables that a template reads but does not set."""
    from jinja2 import meta  # noqa: PLC0415  most models have no template
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  as above

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    return meta.find_undeclared_variables(environment.parse(source))
