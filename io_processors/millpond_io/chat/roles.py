"""Texts written as messages of roles by a chat template: a plain text, or the query and document of a pair."""

from collections.abc import Mapping
from typing import Any

from millpond.loading.tokenizer import Tokenizer
from millpond_io.chat.templates import JinjaTemplate
from millpond_io.text.lengths import max_characters

ROOM = 100_000  # characters that a template may add to its texts


class RoleTemplate:
    """A chat template with what it is rendered with in every call.

    Attributes:
        template: The template.
        structured: Whether contents are lists of parts, instead of texts.
        variables: Its variables that no call changes.
        most: The most characters that it may write, beside those of the texts.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: JinjaTemplate,
        max_model_len: int,
        settings: Mapping[str, Any],
        *,
        structured: bool = False,
    ) -> None:
        """Fix what no call changes.

        Args:
            tokenizer: Whose special tokens are variables.
            template: The template.
            max_model_len: The most tokens that the model reads.
            settings: Further variables.
            structured: Whether contents are lists of parts, instead of texts.
        """
        self.template = template
        self.structured = structured
        fixed = {"add_generation_prompt": False, "tools": None, "documents": None}
        self.variables = {**fixed, **tokenizer.special_tokens, **settings}
        self.most = max_characters(max_model_len) + ROOM

    def render(self, texts: Mapping[str, str | None], own: Mapping[str, Any], *, room: int) -> str:
        """Return what the template writes of texts by role, without those that are None.

        Args:
            texts: The text of each role, in order.
            own: The call's variables.
            room: The most characters that it may write beside its own.
        """
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}] if self.structured else text}
            for role, text in texts.items()
            if text is not None
        ]
        return self.template.render({**self.variables, **own, "messages": messages}, self.most + room)
