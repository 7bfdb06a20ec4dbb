"""LateInteraction: the settings of a late-interaction model for queries and documents."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TokenPooling:
    """The clustering of similar token vectors of a text into fewer vectors.

    Attributes:
        factor: The number of vectors is divided by this factor.
        protected: The number of vectors at the start that are not clustered.
        normalizes: True if the resulting vectors are normalized to length 1.
    """

    factor: float = 1.0
    protected: int = 1
    normalizes: bool = True


@dataclass(frozen=True, kw_only=True)
class QueryDocumentConfig:
    """The settings for queries, or for documents.

    Attributes:
        marker: The token or text at the start; empty for none.
        prompt: The text after the marker.
        ending: The text at the end, which truncation keeps; special tokens follow it.
        length: The maximum number of tokens, including special tokens and the marker; None for the model's maximum.
        skipped: The tokens, as words, whose vectors are removed.
        only: The ids of the tokens whose vectors are kept, such as those of image patches; empty to keep all.
        pooling: The clustering of its vectors; None for none.
        special_tokens: False if the tokenizer adds no special tokens to those in the text.
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
    """Query augmentation: padding of queries to a fixed length (ColBERT, arXiv 2004.12832, section 3.2).

    Attributes:
        length: The number of tokens after padding.
        cuts: True if longer queries are truncated to this length.
        attended: True if other tokens attend to the padding.
        token: The padding token; None for the mask token or, if it is missing, the end-of-text token.
    """

    length: int
    cuts: bool = True
    attended: bool = False
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class LateInteraction:
    """The settings of a late-interaction model, from its files.

    Attributes:
        query: The settings for queries.
        document: The settings for documents.
        expansion: The padding of queries; None for none.
        dim: The number of dimensions of a vector, if Stanford's files state it; else None.
    """

    query: QueryDocumentConfig = field(default_factory=QueryDocumentConfig)
    document: QueryDocumentConfig = field(default_factory=QueryDocumentConfig)
    expansion: Expansion | None = None
    dim: int | None = None

    @property
    def longest(self) -> int:
        """The maximum length of a query or document in the files; 0 if they state none."""
        expanded = None if self.expansion is None else self.expansion.length
        return max(filter(None, (self.query.length, self.document.length, expanded)), default=0)
