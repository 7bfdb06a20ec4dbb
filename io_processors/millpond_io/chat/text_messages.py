"""Rendering of plain texts as messages with the chat template, for sentence-transformers models that require it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from millpond.context import Context
from millpond.model.tokenizer import Tokenizer
from millpond_io.chat.roles import RoleTemplate
from millpond_io.chat.templates import JinjaTemplate
from millpond_io.prompts import Prompt

LIBRARY_SETTINGS = ("restore_suffix", "padding", "truncation", "max_length", "return_tensors")  # not variables
TASK = "task"
PROBE_TEXTS = ("0", "1 2 3 4")  # have no common last token, so common last tokens come from the template


class TextMessages:
    """Renders a text as a user message, and an instruction as a system message before it.

    Attributes:
        declares_task: True if the template reads ``task``, which is "query" or "document" if the call specifies it.
    """

    def __init__(self, ctx: Context, tokenizer: Tokenizer, template: JinjaTemplate) -> None:
        chat_template = tokenizer.chat_template
        settings = {} if chat_template is None else chat_template.settings
        variables = {name: value for name, value in settings.items() if name not in LIBRARY_SETTINGS}
        structured = chat_template is not None and chat_template.texts_as == "structured"
        self.tokenizer = tokenizer
        self.template = RoleTemplate(tokenizer, template, ctx.model.max_model_len, variables, structured=structured)
        self.restores = bool(settings.get("restore_suffix", True))
        self.declares_task = TASK in _variables_of(template.source)
        self._ending = lru_cache(maxsize=256)(self._find_ending)

    def render_prompt(self, prompt: Prompt, instruction: str, task: str | None) -> Prompt:
        """Return a text prompt with its text rendered.

        Args:
            prompt: The prompt.
            instruction: The text of the system message; empty for none.
            task: "query" or "document"; None if the call does not specify it.
        """
        return replace(
            prompt,
            text=self.render(prompt.text or "", instruction, task),
            add_special_tokens=False,
            ending=self._ending(instruction, task) if self.restores else (),
        )

    def render(self, text: str, instruction: str, task: str | None) -> str:
        """Return the output of the template for a text and an instruction."""
        passes_task = task is not None and self.declares_task and TASK not in self.template.variables
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


def text_messages(ctx: Context, template: JinjaTemplate | None) -> TextMessages | None:
    """Return the renderer of a model's texts; None if texts are not rendered as messages.

    Args:
        ctx: The context of the model.
        template: The chat template of the model or of the caller.
    """
    tokenizer = ctx.tokenizer
    chat_template = None if tokenizer is None else tokenizer.chat_template
    if tokenizer is None or chat_template is None or chat_template.texts_as is None or template is None:
        return None
    return TextMessages(ctx, tokenizer, template)


def _variables_of(source: str) -> set[str]:
    """Return the names of variables that a template reads but does not set."""
    from jinja2 import meta  # noqa: PLC0415  most models have no template
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  as above

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    return meta.find_undeclared_variables(environment.parse(source))
