"""PoolingParams: what a caller may ask of one prompt. Knows nothing of models."""

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from millpond.compat.removed import check_removed
from millpond.compat.verify import verify, with_task
from millpond.types.errors import InvalidInputError
from millpond.types.late_chunking import LateChunkingParams

M = TypeVar("M", bound=BaseModel)
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
        truncation_side: The side tokens are cut from; None for that of the model's tokenizer.
        pad_prompt_tokens: Fill prompts up to N tokens with padding, which the model reads like other tokens; -1 for the
            model's maximum, 0 for no padding; None for what the model was trained with.
        add_special_tokens: False leaves out the special tokens of the tokenizer; None for what each prompt states.
        on_overflow: What becomes of a prompt over the model's maximum: "error" refuses it, "truncate" cuts it, "chunk"
            embeds it in pieces and merges these.
        prompt: Text that is put before the caller's, such as an instruction.
        prompt_name: The same by the name that the checkpoint gives it.
        adapter: The name of the checkpoint's adapter that computes it, of models that have one for each purpose. The
            prompt of that name goes with it unless another is given, and it goes with the prompt of that name.
        late_chunking_params: One vector for each chunk of N tokens of a text that the model reads whole, for the task
            ``token_embed``.
        skip_reading_prefix_cache: Without effect: nothing of a prompt is kept from one call to the next.
        extra_kwargs: Parameters of a plugin's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | None = None
    use_activation: bool | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    step_tag_id: Annotated[int, Field(ge=0, strict=True)] | None = None
    returned_token_ids: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    pad_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    add_special_tokens: Annotated[bool, Field(strict=True)] | None = None
    on_overflow: Literal["error", "truncate", "chunk"] | None = None
    prompt: Annotated[str, Field(strict=True)] | None = None
    prompt_name: Annotated[str, Field(strict=True)] | None = None
    adapter: Annotated[str, Field(strict=True)] | None = None
    late_chunking_params: LateChunkingParams | None = None
    skip_reading_prefix_cache: bool | None = None
    extra_kwargs: dict[str, object] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_removed_fields(cls, data: object) -> object:
        check_removed(data)
        return data

    @field_validator("late_chunking_params", mode="before")
    @classmethod
    def _as_late_chunking(cls, given: object) -> object:
        if isinstance(given, Mapping) and set(given) == {"chunk_size"}:
            return LateChunkingParams(given["chunk_size"])
        if given is None or isinstance(given, LateChunkingParams):
            return given
        message = f'expected {{"chunk_size": N}}; got {given!r}'
        raise ValueError(message)

    def verify(self, task: object = None, model_config: object = None) -> None:
        """Check the parameters against what is known of a model, as vLLM does before it runs a request.

        Args:
            task: The task, where the parameters name none; or the model's configuration alone, as newer vLLM has it.
            model_config: The model's configuration.

        Raises:
            InvalidInputError: A field is not of the task, or does not fit the model.
        """
        if model_config is None:
            task, model_config = None, task
        verify(with_task(self, task), model_config)

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
        if mended.get(new) is None:
            mended[new] = value
        elif value not in (None, mended[new]):
            message = f"`{old}` is the old name of `{new}`, and they disagree: pass `{new}` alone"
            raise ValueError(message)
    return mended


def validated(model: type[M], values: Mapping[str, Any] | str, *, parameter: str) -> M:
    """Build settings of what a caller passed, as fields or as JSON text.

    Args:
        model: Their type.
        values: What was passed.
        parameter: The name of the argument that it was passed as.

    Raises:
        InvalidInputError: If a field is unknown or does not fit; names each.
    """
    try:
        return model.model_validate_json(values) if isinstance(values, str) else model.model_validate(dict(values))
    except ValidationError as error:
        faults = [_fault(fault, model) for fault in error.errors(include_url=False, include_context=False)]
        said = "; ".join(faults)
        prefix = "" if said.startswith(f"{parameter}=") else f"{parameter}: "
        raise InvalidInputError(f"{prefix}{said}", parameter=parameter) from error


def _fault(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"there is no {place!r}; there are: {', '.join(model.model_fields)}"
    reason = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}={fault['input']!r}: {reason}" if place else reason
