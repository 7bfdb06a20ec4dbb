"""Plain texts as messages: sentence-transformers writes each text by the chat template where a folder asks for it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from millpond.context import Context
from millpond.loading.chat_template import STRUCTURED
from millpond.loading.tokenizer import Tokenizer
from millpond.types.prompts import Prompt
from millpond_io.chat.roles import RoleTemplate
from millpond_io.chat.templates import JinjaTemplate

OF_LIBRARY = ("restore_suffix", "padding", "truncation", "max_length", "return_tensors")  # not seen by templates
TASK = "task"
FILLERS = ("0", "1 2 3 4")  # two texts without a common last token: what follows both is the template's


class TextMessages:
    """Writes a text as the message of a user, and a prompt before it as one of the system.

    Attributes:
        declares_task: True if the template reads ``task``, which is "query" or "document" where a call specifies it.
    """

    def __init__(self, ctx: Context, tokenizer: Tokenizer, template: JinjaTemplate) -> None:
        own = tokenizer.chat_template
        settings = {} if own is None else own.settings
        seen = {name: value for name, value in settings.items() if name not in OF_LIBRARY}
        structured = own is not None and own.texts_as == STRUCTURED
        self.tokenizer = tokenizer
        self.template = RoleTemplate(tokenizer, template, ctx.model.max_model_len, seen, structured=structured)
        self.restores = bool(settings.get("restore_suffix", True))
        self.declares_task = TASK in _variables_of(template.source)
        self._ending = lru_cache(maxsize=256)(self._find_ending)

    def written(self, prompt: Prompt, before: str, task: str | None) -> Prompt:
        """A text prompt as the template writes it.

        Args:
            prompt: The text.
            before: The prompt before it; empty for none.
            task: "query" or "document"; None where the call does not specify it.
        """
        return replace(
            prompt,
            text=self.render(prompt.text or "", before, task),
            add_special_tokens=False,
            ending=self._ending(before, task) if self.restores else (),
        )

    def render(self, text: str, before: str, task: str | None) -> str:
        """What the template writes of a text and of the prompt before it."""
        states = task is not None and self.declares_task and TASK not in self.template.variables
        texts = {"system": before or None, "user": text}
        return self.template.render(texts, {TASK: task} if states else {}, room=len(text))

    def _find_ending(self, before: str, task: str | None) -> tuple[int, ...]:
        """The ids of the template behind a text, which stay where the text is cut; empty if there are none."""
        first, second = (self._ids(self.render(filler, before, task)) for filler in FILLERS)
        common = 0
        while common < min(len(first), len(second)) and first[-1 - common] == second[-1 - common]:
            common += 1
        return tuple(first[len(first) - common :]) if common < min(len(first), len(second)) else ()

    def _ids(self, text: str) -> Sequence[int]:
        (encoding,) = self.tokenizer.encode_batch([text], add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids


def text_messages(ctx: Context, template: JinjaTemplate | None) -> TextMessages | None:
    """The writer of a model's texts; None where texts are read as they are.

    Args:
        ctx: The model's context.
        template: Its chat template, or the one that the caller chose.
    """
    tokenizer = ctx.tokenizer
    own = None if tokenizer is None else tokenizer.chat_template
    if tokenizer is None or own is None or own.texts_as is None or template is None:
        return None
    return TextMessages(ctx, tokenizer, template)


def _variables_of(source: str) -> set[str]:
    """The names that a template reads and does not set itself."""
    return meta.find_undeclared_variables(
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(source)
    )
