"""PoolingParams: what a caller may ask of one prompt. Knows nothing of models."""

import warnings
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

RENAMED = {"normalize": "use_activation", "softmax": "use_activation", "activation": "use_activation"}


class PoolingParams(BaseModel):
    """What a caller asks of the pooler, for one prompt or for all of a call.

    What is None is taken from the model's ``PoolerConfig``.

    Attributes:
        task: The pooling task; filled in by the method that is called.
        use_activation: Whether to normalise embeddings (or to apply the classifier's activation).
        dimensions: Keep the first so many dimensions, for models trained for it (Matryoshka).
        step_tag_id: The token id whose rows are kept, for pooling type STEP.
        returned_token_ids: The columns that are kept, for pooling type STEP.
        truncate_prompt_tokens: Keep at most so many tokens; -1 for the model's maximum.
        truncation_side: The side tokens are cut from.
        extra_kwargs: Parameters of a plugin's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | None = None
    use_activation: bool | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    step_tag_id: Annotated[int, Field(ge=0, strict=True)] | None = None
    returned_token_ids: tuple[int, ...] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    truncation_side: Annotated[str, Field(pattern="^(left|right)$")] | None = None
    extra_kwargs: dict[str, object] | None = None

    @model_validator(mode="before")
    @classmethod
    def _rename_old_fields(cls, data: object) -> object:
        return rename_fields(data, RENAMED)

    def clone(self) -> Self:
        """A deep copy."""
        return self.model_copy(deep=True)


def rename_fields(data: object, renamed: dict[str, str]) -> object:
    """Take old spellings of fields for the new ones, with a DeprecationWarning."""
    if not isinstance(data, dict) or not renamed.keys() & data.keys():
        return data
    mended = dict(data)
    for old, new in renamed.items():
        if old not in mended:
            continue
        warnings.warn(f"`{old}` was renamed: use `{new}`", DeprecationWarning, stacklevel=4)
        value = mended.pop(old)
        if mended.setdefault(new, value) != value:
            message = f"`{old}` is the old name of `{new}`, and they disagree: pass `{new}` alone"
            raise ValueError(message)
    return mended
