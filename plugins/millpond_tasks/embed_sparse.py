"""Options of the task ``embed_sparse``: weights of vocabulary tokens."""

from pydantic import field_validator

from millpond_tasks.options import QueryDocumentOptions


class SparseOptions(QueryDocumentOptions):
    """Options of ``embed_sparse``.

    Attributes:
        return_tokens: True to also return the tokens as text.
        max_active_dims: Keep the N largest weights; None keeps all nonzero weights.
    """

    return_tokens: bool = False
    max_active_dims: int | None = None

    @field_validator("return_tokens", mode="before")
    @classmethod
    def _is_flag(cls, value: object) -> object:
        if not isinstance(value, bool):
            message = f"return_tokens must be true or false; got {value!r}"
            raise ValueError(message)  # noqa: TRY004  pydantic reports a ValueError as an error of the field
        return value

    @field_validator("max_active_dims", mode="before")
    @classmethod
    def _is_count(cls, value: object) -> object:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            message = f"max_active_dims must be a positive number of tokens; got {value!r}"
            raise ValueError(message)
        return value
