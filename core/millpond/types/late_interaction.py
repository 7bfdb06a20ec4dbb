"""LateInteraction: how a model of token vectors reads queries and documents. Without torch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond.compat.renamed import renamed_contents


@dataclass(frozen=True, kw_only=True)
class TokenPooling:
    """How the vectors of a text become fewer: those of tokens that mean alike become one.

    Attributes:
        factor: How many times fewer they become.
        protected: So many of the first stay as they are.
        normalizes: Whether all are brought to length 1 again.
    """

    factor: float = 1.0
    protected: int = 1
    normalizes: bool = True


@dataclass(frozen=True, kw_only=True)
class QueryDocumentConfig:
    """How a query is read, or a document.

    Attributes:
        marker: The token, or text, that is put before it; empty for none.
        prompt: The text behind that.
        ending: The text behind its own, which stays whatever is cut; before special tokens that end a text.
        length: The most tokens, special tokens and the marker included; None for as many as the model reads.
        skipped: The tokens whose vectors are left out, as words.
        only: The ids of the tokens whose vectors alone are kept, such as those of image patches; empty for all.
        pooling: How its vectors become fewer; None if they do not.
        special_tokens: Whether the tokenizer adds special tokens; else those that are written are all it has.
    """

    marker: str = ""
    prompt: str = ""
    ending: str = ""
    length: int | None = None
    skipped: tuple[str, ...] = ()
    only: tuple[int, ...] = ()
    pooling: TokenPooling | None = None
    special_tokens: bool = True


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The tokens that are put behind a query (Khattab and Zaharia, 2020, arXiv 2004.12832, section 3.2).

    Attributes:
        length: The tokens of a query that has them.
        cuts: Whether longer queries are cut to that.
        attended: Whether the query's own tokens, and these, attend to them.
        token: Which; None for the mask token, or where there is none, the one that ends a text.
    """

    length: int
    cuts: bool = True
    attended: bool = False
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class LateInteraction:
    """How a model of token vectors reads queries and documents, as its files say.

    Attributes:
        query: How a query is read.
        document: How a document is read.
        expansion: What is put behind queries; None for nothing.
        dim: The dimensions of a vector where Stanford's files say; else None.
    """

    query: QueryDocumentConfig = field(default_factory=QueryDocumentConfig)
    document: QueryDocumentConfig = field(default_factory=QueryDocumentConfig)
    expansion: Expansion | None = None
    dim: int | None = None

    @property
    def longest(self) -> int:
        """The most tokens that the files say of a query or a document; 0 where they say nothing."""
        expanded = None if self.expansion is None else self.expansion.length
        return max(filter(None, (self.query.length, self.document.length, expanded)), default=0)


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = renamed_contents(__name__, {"Side": "QueryDocumentConfig"})
