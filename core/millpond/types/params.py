"""PoolingParams: the parameters of one prompt, independent of a model; validation of settings."""

from collections.abc import Mapping
from reprlib import repr as brief
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from millpond.types.errors import InvalidInputError
from millpond.types.late_chunking import LateChunkingParams
from millpond.types.params_checks import check_removed, verify, with_task

M = TypeVar("M", bound=BaseModel)
MAX_SHOWN_CHARS = 200  # longer values are shortened in error messages


class ResultParams(BaseModel):
    """The parameters of the results of the pooler.

    Attributes:
        task: The pooling task; set by the method that is called.
        use_activation: True to normalize embeddings, or to apply the classifier's activation.
        dimensions: Keep only the first N dimensions, for models trained for it (Matryoshka).
        step_tag_id: The token id whose rows are returned, for pooling type STEP.
        returned_token_ids: The columns that are returned, for pooling type STEP.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | None = None
    use_activation: bool | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    step_tag_id: Annotated[int, Field(ge=0, strict=True)] | None = None
    returned_token_ids: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = None


class PoolingParams(ResultParams):
    """The parameters of pooling, for one prompt or for all prompts of a call.

    Fields that are None have the value of the model's ``PoolerConfig``.

    Attributes:
        truncate_prompt_tokens: Keep at most N tokens; -1 for the model's maximum.
        truncation_side: The side that tokens are removed from; None for that of the model's tokenizer.
        pad_prompt_tokens: Pad prompts to N tokens; the model attends to the padding. -1 for the model's maximum, 0 for
            no padding; None for the setting that the model was trained with.
        add_special_tokens: False to add no special tokens; None for the setting of each prompt.
        on_overflow: The treatment of a prompt over the model's maximum: "error" refuses it, "truncate" truncates it,
            "chunk" embeds it in pieces and merges the vectors.
        prompt: A text before the caller's text, such as an instruction.
        prompt_name: The name of a prompt of the checkpoint.
        adapter: The name of an adapter of the checkpoint, for models with one per purpose. Unless another prompt is
            requested, the prompt with the same name is used, and ``prompt_name`` selects the adapter with that name.
        late_chunking_params: Return one vector for each chunk of N tokens of a text that the model reads as a whole,
            for the task ``token_embed``.
        skip_reading_prefix_cache: No effect: there is no prefix cache.
        extra_kwargs: Options of the task or of a plugin.
    """

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
    def _as_late_chunking(cls, value: object) -> object:
        if isinstance(value, Mapping) and set(value) == {"chunk_size"}:
            return LateChunkingParams(value["chunk_size"])
        if value is None or isinstance(value, LateChunkingParams):
            return value
        message = f'expected {{"chunk_size": N}}; got {value!r}'
        raise ValueError(message)

    def verify(self, task: object = None, model_config: object = None) -> None:
        """Check the parameters against the configuration of a model, like vLLM before it runs a request.

        Args:
            task: The task if the parameters name none; or only the model's configuration, like newer versions of vLLM.
            model_config: The model's configuration.

        Raises:
            InvalidInputError: If a field does not apply to the task, or is invalid for the model.
        """
        if model_config is None:
            task, model_config = None, task
        verify(with_task(self, task), model_config)

    def clone(self) -> Self:
        """Return a deep copy."""
        return self.model_copy(deep=True)


def validated(model: type[M], values: Mapping[str, Any] | str, *, parameter: str) -> M:
    """Validate settings of a caller, passed as fields or as JSON text.

    Args:
        model: The type of the settings.
        values: The fields, or JSON text.
        parameter: The name of the caller's argument.

    Raises:
        InvalidInputError: If a field is unknown or invalid; the message names each.
    """
    try:
        return model.model_validate_json(values) if isinstance(values, str) else model.model_validate(dict(values))
    except ValidationError as error:
        errors = [_described(fault, model) for fault in error.errors(include_url=False, include_context=False)]
        message = "; ".join(errors)
        prefix = "" if message.startswith(f"{parameter}=") else f"{parameter}: "
        raise InvalidInputError(f"{prefix}{message}", parameter=parameter) from error


def _described(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    field = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"Unknown field {field!r}. Available: {', '.join(model.model_fields)}"
    reason = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "missing":  # its input is the whole object
        return f"{field}: {reason}"
    return f"{field}={_shown(fault['input'])}: {reason}" if field else reason


def _shown(value: object) -> str:
    """Return a value of a caller for a message, shortened if it is long or nested too deeply to be printed."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  repr of any value may fail
        return brief(value)
    return text if len(text) <= MAX_SHOWN_CHARS else brief(value)
