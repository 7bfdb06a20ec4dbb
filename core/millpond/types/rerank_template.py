"""The text that a reranker made of a language model reads for a query and a document."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RerankTemplate:
    """The prompt of a query and a document.

    Attributes:
        pieces: The text, in pieces that are tokenised separately, as the model's authors do. ``{query}``,
            ``{document}`` and ``{instruction}`` are replaced.
        instruction: The instruction if the caller gives none.
        instruction_form: The form of an instruction in the text, such as ``"instruction: {}"``; left out without one.
        written_marker: A query that starts with this text already has the template's form and is not changed.
        recognized_by: Values of config.json by which a model of any name is known to read this template.
    """

    pieces: tuple[str, ...]
    instruction: str = ""
    instruction_form: str = "{}"
    written_marker: str | None = None
    recognized_by: Mapping[str, object] = field(default_factory=dict, hash=False)

    def filled(self, query: str, document: str, instruction: str | None) -> tuple[str, ...]:
        """Return the pieces for a pair."""
        chosen = instruction or self.instruction
        written = self.instruction_form.format(chosen) if chosen else ""
        return tuple(piece.format(query=query, document=document, instruction=written) for piece in self.pieces)
