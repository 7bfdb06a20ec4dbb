"""Rendering of texts as messages with roles: a single text, or the query and document of a pair."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from millpond.model.tokenizer import Tokenizer
from millpond_io.chat.templates import JinjaTemplate
from millpond_io.text.lengths import max_characters

Records: TypeAlias = list[dict[str, str]]
MAX_TEMPLATE_CHARS = 100_000  # that a template may add to the texts


class RoleTemplate:
    """A chat template with the variables that are the same in every call.

    Attributes:
        template: The template.
        structured: True if contents are lists of parts instead of texts.
        variables: The variables that are the same in every call.
        max_chars: The maximum number of characters that the template writes, besides those of the texts.
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
        """Set the variables of all calls.

        Args:
            tokenizer: The tokenizer, whose special tokens are variables.
            template: The template.
            max_model_len: The model's maximum length, in tokens.
            settings: Further variables.
            structured: True if contents are lists of parts instead of texts.
        """
        self.template = template
        self.structured = structured
        fixed = {"add_generation_prompt": False, "tools": None, "documents": None}
        self.variables = {**fixed, **tokenizer.special_tokens, **settings}
        self.max_chars = max_characters(max_model_len) + MAX_TEMPLATE_CHARS

    def render(
        self, contents: Mapping[str, str | Records | None], variables: Mapping[str, Any], *, max_text_chars: int
    ) -> str:
        """Return the output of the template for the contents of roles; roles whose content is None are left out.

        Args:
            contents: The text of each role, or its parts if the template reads them, in order.
            variables: The variables of this call.
            max_text_chars: The number of characters that the texts may add to the output.
        """
        messages = [
            {"role": role, "content": self._in_parts(content) if self.structured else content}
            for role, content in contents.items()
            if content is not None
        ]
        return self.template.render(
            {**self.variables, **variables, "messages": messages}, self.max_chars + max_text_chars
        )

    def _in_parts(self, content: str | Records) -> Records:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content
