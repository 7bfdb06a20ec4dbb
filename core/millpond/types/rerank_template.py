"""RerankTemplate: the prompt of a query and a document for rerankers that are language models."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RerankTemplate:
    """The prompt of a query and a document.

    Attributes:
        pieces: The text, in pieces that are tokenized separately, as the model's authors do. ``{query}``,
            ``{document}`` and ``{instruction}`` are replaced.
        instruction: The default instruction.
        instruction_form: The form of an instruction in the text, such as ``"instruction: {}"``; left out without one.
        empty: The text in place of an empty query or document; None for no text.
        written_marker: A query that starts with this text is already formatted and is not changed.
        recognized_by: Values of config.json that identify models with this template, independent of their name.
    """

    pieces: tuple[str, ...]
    instruction: str = ""
    instruction_form: str = "{}"
    empty: str | None = None
    written_marker: str | None = None
    recognized_by: Mapping[str, object] = field(default_factory=dict, hash=False)

    def filled(self, query: str, document: str, instruction: str | None) -> tuple[str, ...]:
        """Return the pieces for a pair."""
        instruction = instruction or self.instruction
        formatted = self.instruction_form.format(instruction) if instruction else ""
        empty = self.empty or ""
        texts = {"query": query or empty, "document": document or empty, "instruction": formatted}
        return tuple(piece.format(**texts) for piece in self.pieces)
