"""Configuration of users and checkpoints."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from millpond.types.errors import InvalidInputError
from millpond.types.params import validated
from millpond.types.params_checks import check_removed

MAX_IMAGES_PER_PROMPT = 1024  # all images of a prompt are in memory at once
HOST = re.compile(
    r"\*|(?:\*\.)?[\w.-]+|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE
)  # a host, *. and a domain, or * for any
OLDER_NAMES = {
    "normalize": "use_activation",
    "softmax": "use_activation",
    "activation": "use_activation",
    "pooling_task": "task",
}
"""The fields of ``PoolerConfig`` by the names that older versions of vLLM use."""
JOINED_BY = "+"  # separates the names of pooling types whose results are concatenated


class PoolerConfig(BaseModel):
    """The pooling of hidden states. The checkpoint, the architecture or the task decides values that are None.

    Attributes:
        task: The default task of ``encode``.
        pooling_type: Shorthand for the next two; sets the one that fits.
        seq_pooling_type: The pooling type of tasks with one result per prompt, such as CLS, LAST, MEAN.
        tok_pooling_type: The pooling type of tasks with one result per token, such as ALL, STEP.
        use_activation: True to normalize embeddings, or to apply the classifier's activation.
        dimensions: The default number of dimensions to keep (Matryoshka).
        enable_chunked_processing: True to split texts over the model's maximum, and merge the embeddings of the pieces.
        max_embed_len: The maximum number of tokens of a text with chunked processing.
        chunk_renormalize: True to normalize the mean of normalized chunks again.
        logit_bias: vLLM's older name of ``logit_mean``.
        logit_mean: Subtracted from the logits.
        logit_sigma: Divides the logits.
        step_tag_id: The token id whose rows are returned, for STEP.
        returned_token_ids: The columns that are returned, for STEP.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | None = None
    pooling_type: str | None = None
    seq_pooling_type: str | None = None
    tok_pooling_type: str | None = None
    use_activation: bool | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    enable_chunked_processing: bool = False
    max_embed_len: Annotated[int, Field(ge=1, strict=True)] | None = None
    chunk_renormalize: bool = True
    logit_bias: FiniteFloat | None = None
    logit_mean: FiniteFloat | None = None
    logit_sigma: FiniteFloat | None = None
    step_tag_id: Annotated[int, Field(ge=0, strict=True)] | None = None
    returned_token_ids: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_older_names(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        data = _renamed(data)
        check_removed({"task": data.get("task")})
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        for other in ("seq_pooling_type", "tok_pooling_type"):
            if self.pooling_type is not None and getattr(self, other) is not None:
                message = f"Cannot set both `pooling_type` and `{other}`"
                raise ValueError(message)
        if self.logit_bias is not None and self.logit_mean not in (None, self.logit_bias):
            message = "`logit_bias` is another name of `logit_mean`, and their values differ: pass `logit_mean` only"
            raise ValueError(message)
        if self.logit_sigma == 0:
            message = "logit_sigma cannot be 0 (division by zero)"
            raise ValueError(message)
        return self

    @classmethod
    def parse(cls, config: "PoolerConfig | Mapping[str, object] | str | None") -> "PoolerConfig":
        """Return a config from an object, a dict, JSON text, or None for the empty config.

        Raises:
            InvalidInputError: If it has another type, or a field is invalid.
        """
        if config is None:
            return cls()
        if isinstance(config, PoolerConfig):
            return config
        if not isinstance(config, str | Mapping):
            message = f"pooler_config must be a PoolerConfig, a dict or JSON text; got {type(config).__name__}"
            raise InvalidInputError(message, parameter="pooler_config")
        return validated(cls, config, parameter="pooler_config")


class InputOptions(BaseModel):
    """The default treatment of prompts.

    Attributes:
        on_overflow: The treatment of a prompt over the model's maximum: "error", "truncate", "chunk".
        apply_default_prompt: True to put the checkpoint's default prompt before texts.
        chat_template: The template of queries and documents for cross-encoders, as Jinja text or the path of a file.
        mixed_modality: The treatment of a prompt with text and image, for models that read one or the other: "error"
            refuses it, "mean" returns the mean of both vectors.
        allowed_media_domains: The hosts of image URLs that may be fetched; ``*.example.org`` for all hosts of a domain,
            ``*`` for any public host. None are allowed by default.
        allowed_local_media_path: The folder whose files ``file://`` URLs may name; empty for none.
        mm_processor_kwargs: The options of the model's ``ImageReader``, which control the size of images.
        limit_mm_per_prompt: The maximum number of images of a prompt, under "image"; other media are not supported.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_overflow: Literal["error", "truncate", "chunk"] = "error"
    apply_default_prompt: bool = False
    chat_template: str | None = None
    mixed_modality: Literal["error", "mean"] = "error"
    allowed_media_domains: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    allowed_local_media_path: str = ""
    mm_processor_kwargs: Mapping[str, Any] = Field(default_factory=dict)
    limit_mm_per_prompt: Mapping[str, Annotated[int, Field(ge=0, le=MAX_IMAGES_PER_PROMPT, strict=True)]] = Field(
        default_factory=dict
    )

    @field_validator("allowed_media_domains", mode="before")
    @classmethod
    def _as_domains(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator("allowed_media_domains")
    @classmethod
    def _are_hosts(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        for domain in domains:
            if not HOST.fullmatch(domain):
                message = f"must be names of hosts, such as example.org, *.example.org, or * for any; got {domain!r}"
                raise ValueError(message)
        return domains

    @field_validator("allowed_local_media_path", mode="before")
    @classmethod
    def _as_path(cls, value: object) -> object:
        return "" if value is None else fspath(value) if isinstance(value, PathLike) else value

    @field_validator("allowed_local_media_path")
    @classmethod
    def _is_folder(cls, path: str) -> str:
        if path and not Path(path).is_dir():
            message = "must be a folder that exists"
            raise ValueError(message)
        return path

    @field_validator("mm_processor_kwargs", mode="before")
    @classmethod
    def _as_options(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("limit_mm_per_prompt", mode="before")
    @classmethod
    def _as_counts(cls, value: object) -> object:
        """Return the counts by medium; a count may be in an object with the key ``count``, as in vLLM."""
        if not isinstance(value, Mapping):
            return {} if value is None else value
        return {name: one.get("count") if isinstance(one, Mapping) else one for name, one in value.items()}


class EngineConfig(BaseModel):
    """The limits of batches and of waiting requests.

    Attributes:
        max_num_batched_tokens: The maximum number of tokens of a batch; a longer prompt runs alone. None: 1024 on a
            CPU; on a CUDA device, one per MiB of its memory, rounded down to a power of two from 4096 to 65536.
        max_num_seqs: The maximum number of prompts of a batch. None: 512 on a CPU, 4096 on other devices.
        max_waiting_tokens: The maximum number of waiting tokens in online use; requests over it are refused.
        num_workers: The number of single-threaded workers on a CPU, None for one per core; or the number of batches in
            flight on a CUDA device, None for one.
        enable_prefix_caching: True to compute the tokens with which all prompts of a call begin once.
        cuda_graphs: True to launch small batches on a CUDA device with recorded graphs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_num_batched_tokens: Annotated[int, Field(ge=1)] | None = None
    max_num_seqs: Annotated[int, Field(ge=1)] | None = None
    max_waiting_tokens: Annotated[int, Field(ge=1)] = 1_000_000
    num_workers: Annotated[int, Field(ge=1)] | None = None
    enable_prefix_caching: bool = True
    cuda_graphs: bool = False


class CheckpointConfig(Mapping[str, Any]):
    """A model's config.json as a read-only mapping, with attribute access; nested objects have the same type."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        vars(self)["_values"] = {key: _frozen(value) for key, value in values.items()}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_values":
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            if name == "num_labels":  # transformers derives it and does not write it
                return len(self._values.get("id2label", (0, 1)))
            message = f"config.json has no {name!r}. Available: {', '.join(sorted(self._values))}"
            raise AttributeError(message) from None

    def __setattr__(self, name: str, value: object) -> None:
        # Functions for hf_overrides are written for mutable configs: an ignored assignment is worse than an error.
        message = f"config.json is read-only here: return {{{name!r}: {value!r}}} to change it with hf_overrides"
        raise AttributeError(message)

    def __repr__(self) -> str:
        return f"CheckpointConfig({self._values!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of plain dicts."""
        return {key: value.to_dict() if isinstance(value, CheckpointConfig) else value for key, value in self.items()}

    @cached_property
    def of_text(self) -> "CheckpointConfig":
        """The config of the text model: ``text_config`` or ``llm_config``, or the whole config if both are missing.

        If the config has a ``vlm_config``, the text config within it is returned.
        """
        inner = self.get("vlm_config")
        whole = inner if isinstance(inner, CheckpointConfig) else self
        parts = (whole.get(name) for name in ("text_config", "llm_config"))
        return next((part for part in parts if isinstance(part, CheckpointConfig)), whole)

    def overridden(self, overrides: Mapping[str, Any]) -> "CheckpointConfig":
        """Return a copy with overrides; nested objects are merged."""
        return CheckpointConfig(_merged(self.to_dict(), overrides)) if overrides else self


def _frozen(value: object) -> object:
    return CheckpointConfig(value) if isinstance(value, dict) else value


def _merged(base: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a ``PoolerConfig`` by their present names."""
    renamed = {name: value for name, value in fields.items() if name not in OLDER_NAMES}
    for older in OLDER_NAMES.keys() & fields.keys():
        name = OLDER_NAMES[older]
        if renamed.get(name) is None:
            renamed[name] = fields[older]
        elif fields[older] not in (None, renamed[name]):
            message = f"`{older}` is another name of `{name}`, and their values differ: pass `{name}` only"
            raise ValueError(message)
    return renamed
