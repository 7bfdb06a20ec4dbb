"""What users and checkpoints configure, and the one rule by which they are merged. Knows nothing of torch."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from millpond.compat.model_config import VllmModelConfig, accepts_flat_attributes
from millpond.compat.removed import check_removed
from millpond.compat.renamed import renamed_attributes
from millpond.types.errors import InvalidInputError
from millpond.types.model_info import (
    ClassificationInfo,
    EmbeddingInfo,
    ModelIdentity,
    MultimodalInfo,
    PromptInfo,
    RetrievalInfo,
)
from millpond.types.params import RENAMED, rename_fields, validated

MOST_IMAGES = 1024  # that a prompt can be allowed to have: they are all in memory at once
HOST = re.compile(r"\*|(?:\*\.)?[\w.-]+|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE)  # or all below one, or any
JOINED_BY = "+"  # between the names of pooling types whose results are joined


class PoolerConfig(BaseModel):
    """How hidden states become the result; what is None is decided by the checkpoint, the architecture, the task.

    Attributes:
        task: The task that ``encode`` takes when none is named.
        pooling_type: Shorthand that fills one of the next two.
        seq_pooling_type: The pooling type of tasks with one result a prompt, such as CLS, LAST, MEAN.
        tok_pooling_type: The pooling type of tasks with one result a token, such as ALL, STEP.
        use_activation: Whether to normalise embeddings (or to apply the classifier's activation).
        dimensions: How many dimensions to keep by default (Matryoshka).
        enable_chunked_processing: Whether text over the model's maximum is split, embedded and merged.
        max_embed_len: The longest text accepted then, in tokens.
        chunk_renormalize: Whether the mean of normalised chunks is normalised again.
        logit_bias: Subtracted from the logits; the old name of ``logit_mean``.
        logit_mean: Subtracted from the logits.
        logit_sigma: Divides the logits.
        step_tag_id: The token id whose rows are kept, for STEP.
        returned_token_ids: The columns that are kept, for STEP.
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
    def _rename_old_fields(cls, data: object) -> object:
        data = rename_fields(data, RENAMED | {"pooling_task": "task"})
        check_removed({"task": data.get("task")} if isinstance(data, dict) else None)
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        for other in ("seq_pooling_type", "tok_pooling_type"):
            if self.pooling_type is not None and getattr(self, other) is not None:
                message = f"Cannot set both `pooling_type` and `{other}`"
                raise ValueError(message)
        if self.logit_bias is not None and self.logit_mean not in (None, self.logit_bias):
            message = "`logit_bias` is the old name of `logit_mean`, and they disagree: pass `logit_mean` alone"
            raise ValueError(message)
        if self.logit_sigma == 0:
            message = "logit_sigma cannot be 0 (division by zero)"
            raise ValueError(message)
        return self

    @classmethod
    def parse(cls, given: "PoolerConfig | Mapping[str, object] | str | None") -> "PoolerConfig":
        """Take a config as an object, a dict, or JSON text; None is the empty config.

        Raises:
            InvalidInputError: If it is none of these, or a field does not fit.
        """
        if given is None:
            return cls()
        if isinstance(given, PoolerConfig):
            return given
        if not isinstance(given, str | Mapping):
            message = f"pooler_config must be a PoolerConfig, a dict or JSON text; got {type(given).__name__}"
            raise InvalidInputError(message, parameter="pooler_config")
        return validated(cls, given, parameter="pooler_config")


@renamed_attributes(mixed="mixed_modality")
class InputOptions(BaseModel):
    """What becomes of prompts where a call does not say.

    Attributes:
        on_overflow: What becomes of a prompt over the model's maximum: "error", "truncate", "chunk".
        apply_default_prompt: Whether the prompt that the checkpoint names as its default is put before texts.
        chat_template: The template of queries and documents for cross-encoders, as Jinja text or the path of a file.
        mixed_modality: The treatment of a prompt with text and an image, for models that read one or the other: "error"
            refuses it, "mean" gives the mean of both vectors.
        allowed_media_domains: The hosts that images may be fetched from where a prompt names them by URL;
            ``*.example.org`` for those below one, ``*`` for any. None by default.
        allowed_local_media_path: The folder that files may be read from where a prompt names them by ``file://`` URL;
            empty for none.
        mm_processor_kwargs: How large images are read, by the names of the options of the model's ``ImageReader``.
        limit_mm_per_prompt: The most images of a prompt, under "image"; other media are not read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_overflow: Literal["error", "truncate", "chunk"] = "error"
    apply_default_prompt: bool = False
    chat_template: str | None = None
    mixed_modality: Literal["error", "mean"] = "error"
    allowed_media_domains: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    allowed_local_media_path: str = ""
    mm_processor_kwargs: Mapping[str, Any] = Field(default_factory=dict)
    limit_mm_per_prompt: Mapping[str, Annotated[int, Field(ge=0, le=MOST_IMAGES, strict=True)]] = Field(
        default_factory=dict
    )

    @field_validator("allowed_media_domains", mode="before")
    @classmethod
    def _as_domains(cls, given: object) -> object:
        return () if given is None else (given,) if isinstance(given, str) else given

    @field_validator("allowed_media_domains")
    @classmethod
    def _are_hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for domain in given:
            if not HOST.fullmatch(domain):
                message = f"must be names of hosts, such as example.org, *.example.org, or * for any; got {domain!r}"
                raise ValueError(message)
        return given

    @field_validator("allowed_local_media_path", mode="before")
    @classmethod
    def _as_path(cls, given: object) -> object:
        return "" if given is None else fspath(given) if isinstance(given, PathLike) else given

    @field_validator("allowed_local_media_path")
    @classmethod
    def _is_folder(cls, given: str) -> str:
        if given and not Path(given).is_dir():
            message = "must be a folder that exists"
            raise ValueError(message)
        return given

    @field_validator("mm_processor_kwargs", mode="before")
    @classmethod
    def _as_options(cls, given: object) -> object:
        return {} if given is None else given

    @field_validator("limit_mm_per_prompt", mode="before")
    @classmethod
    def _as_counts(cls, given: object) -> object:
        """Counts by medium; one may stand in an object as ``count``, beside what vLLM sizes its memory by."""
        if not isinstance(given, Mapping):
            return {} if given is None else given
        return {name: one.get("count") if isinstance(one, Mapping) else one for name, one in given.items()}


class EngineConfig(BaseModel):
    """How much is computed at once, and how much may wait.

    Attributes:
        max_num_batched_tokens: The most tokens of a batch; a longer prompt runs alone.
        max_num_seqs: The most prompts of a batch.
        max_waiting_tokens: The most tokens that may wait online; over it, requests are refused.
        num_workers: Single-threaded workers on a CPU; None for one a core.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_num_batched_tokens: Annotated[int, Field(ge=1)] = 1024
    max_num_seqs: Annotated[int, Field(ge=1)] = 512
    max_waiting_tokens: Annotated[int, Field(ge=1)] = 1_000_000
    num_workers: Annotated[int, Field(ge=1)] | None = None


class CheckpointConfig(Mapping[str, Any]):
    """A model's config.json as read-only data, by item or by attribute; nested objects likewise."""

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
            if name == "num_labels":  # which transformers counts, and does not write
                return len(self._values.get("id2label", (0, 1)))
            message = f"config.json has no {name!r}; it has {', '.join(sorted(self._values))}"
            raise AttributeError(message) from None

    def __setattr__(self, name: str, value: object) -> None:
        # A change that went unheard would be worse: functions for hf_overrides are written for configs that can be set.
        message = f"config.json is read-only here: return {{{name!r}: {value!r}}} to change it by hf_overrides"
        raise AttributeError(message)

    def __repr__(self) -> str:
        return f"CheckpointConfig({self._values!r})"

    def to_dict(self) -> dict[str, Any]:
        """A copy made of plain dicts."""
        return {key: value.to_dict() if isinstance(value, CheckpointConfig) else value for key, value in self.items()}

    @property
    def of_text(self) -> "CheckpointConfig":
        """What it says of the part that reads text: its ``text_config`` or ``llm_config``, or all of it if it has none.

        Where what reads texts and images stands in a part of its own, ``vlm_config``, it is what that says.
        """
        inner = self.get("vlm_config")
        whole = inner if isinstance(inner, CheckpointConfig) else self
        parts = (whole.get(name) for name in ("text_config", "llm_config"))
        return next((part for part in parts if isinstance(part, CheckpointConfig)), whole)

    def overridden(self, overrides: Mapping[str, Any]) -> "CheckpointConfig":
        """A copy in which the overrides replace what is here; nested objects are merged."""
        return CheckpointConfig(_merged(self.to_dict(), overrides))


def _frozen(value: object) -> object:
    return CheckpointConfig(value) if isinstance(value, dict) else value


def _merged(base: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


@accepts_flat_attributes(
    {
        "identity": ModelIdentity,
        "embedding": EmbeddingInfo,
        "classification": ClassificationInfo,
        "retrieval": RetrievalInfo,
        "multimodal": MultimodalInfo,
        "prompting": PromptInfo,
    }
)
@dataclass(frozen=True, kw_only=True)
class ModelConfig(VllmModelConfig):
    """The facts about a model that is loaded: names, limits, tasks.

    Attributes:
        model: The name the caller used.
        identity: The folder, the source and the architecture.
        hf_config: config.json with the caller's overrides.
        max_model_len: The maximum number of tokens of a prompt.
        dtype: The name of the dtype it computes in.
        pooler_config: The merged pooler config.
        tasks: The tasks it serves.
        embedding: The size and kind of its embeddings.
        classification: The number and activation of its classes or scores.
        retrieval: The differences between queries and documents.
        multimodal: The inputs beside text.
        prompting: The named prompts, adapters and templates.
    """

    model: str
    identity: ModelIdentity
    hf_config: CheckpointConfig
    max_model_len: int
    dtype: str
    pooler_config: PoolerConfig
    tasks: tuple[str, ...]
    embedding: EmbeddingInfo = field(default_factory=EmbeddingInfo)
    classification: ClassificationInfo = field(default_factory=ClassificationInfo)
    retrieval: RetrievalInfo = field(default_factory=RetrievalInfo)
    multimodal: MultimodalInfo = field(default_factory=MultimodalInfo)
    prompting: PromptInfo = field(default_factory=PromptInfo)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes: those of ``id2label`` in config.json, else LABEL_0 ... as transformers has them."""
        number, text = self.classification.num_labels, self.hf_config.get("text_config")
        inner = text.get("id2label") if isinstance(text, CheckpointConfig) else None
        stated = (names for names in (self.hf_config.get("id2label"), inner) if isinstance(names, CheckpointConfig))
        names: Mapping[str, Any] = next((names for names in stated if len(names) == number), {})
        return tuple(str(names.get(str(label), f"LABEL_{label}")) for label in range(number))

    @property
    def is_matryoshka(self) -> bool:
        """Whether embeddings may be cut to fewer dimensions; ``is_matryoshka: false`` forbids what else would allow."""
        if self.hf_config.get("is_matryoshka") is False:
            return False
        stated = self.hf_config.get("matryoshka_dimensions") or self.hf_config.get("is_matryoshka")
        return bool(stated) or self.embedding.truncate_dim is not None

    @property
    def matryoshka_dimensions(self) -> tuple[int, ...]:
        """The dimensions the model was trained for; empty for any."""
        trained = self.hf_config.get("matryoshka_dimensions") or ()
        return (trained,) if isinstance(trained, int) else tuple(trained)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A configured value, and who decided it."""

    value: Any
    origin: str


def merge(*layers: tuple[str, Mapping[str, Any]]) -> dict[str, Choice]:
    """Merge layers of settings, strongest first: of each name the first value that is not None.

    Its origin is the layer; a value that is a ``Choice`` keeps its own.
    """
    merged: dict[str, Choice] = {}
    for origin, settings in layers:
        for name, value in settings.items():
            if value is not None and name not in merged:
                merged[name] = value if isinstance(value, Choice) else Choice(value=value, origin=origin)
    return merged
