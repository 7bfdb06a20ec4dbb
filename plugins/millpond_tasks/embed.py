"""Options of the tasks ``embed`` and ``token_embed``: one vector per prompt or per token."""

from typing import Annotated

from pydantic import Field, field_validator

from millpond_tasks.options import QueryDocumentOptions


class EmbedOptions(QueryDocumentOptions):
    """Options of ``embed``.

    Attributes:
        mixed_modality: For models that read a text or an image: "error" refuses a prompt with both, "mean" returns the
            mean of both vectors; None for the setting of the loaded model.
        max_active_dims: For embeddings over a vocabulary, keep the N largest weights.
        pool_factor: Only for ``token_embed``.
    """

    mixed_modality: str | None = None
    max_active_dims: Annotated[int, Field(ge=1, strict=True)] | None = None
    pool_factor: float | None = None

    @field_validator("pool_factor", mode="before")
    @classmethod
    def _is_factor(cls, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < float("inf"):
            message = (
                f"pool_factor must be a number of at least 1, such as 2 to halve the number of vectors; got {value!r}"
            )
            raise ValueError(message)
        return value


class TokenEmbedOptions(EmbedOptions):
    """Options of ``token_embed``.

    Attributes:
        pool_factor: The factor by which the number of vectors of a document is reduced, by merging similar ones.
    """
