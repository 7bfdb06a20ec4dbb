"""Profiles: what ``millpond tune`` found best for models of one shape on one machine, kept as small JSON files."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from millpond.errors import InvalidInputError
from millpond.params import validated

FORMAT: Final = 1
VARIABLE = "MILLPOND_PROFILES"
NO_PROFILES = "0"
DIGITS = 12  # of the hash in a file's name
SPELLINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hidden_size": ("hidden_size", "dim", "n_embd", "d_model"),
        "num_hidden_layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
        "num_attention_heads": ("num_attention_heads", "n_heads", "n_head", "num_heads"),
        "intermediate_size": ("intermediate_size", "hidden_dim", "n_inner", "d_ff"),
    }
)

Count = Annotated[int, Field(ge=1)]
Quantity = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    """Part of a profile: nothing is taken for something else, nothing unknown is passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelShape(_Record):
    """What of a model decides how fast it is: a copy with other weights, in another folder, has the same shape.

    Attributes:
        architecture: The name of the architecture that serves it.
        hidden_size: The width of its hidden states; None, here and below, where config.json does not say.
        num_hidden_layers: Its layers.
        num_attention_heads: The heads of its attention.
        intermediate_size: The width inside its feed-forward layers.
    """

    architecture: str
    hidden_size: int | None
    num_hidden_layers: int | None
    num_attention_heads: int | None
    intermediate_size: int | None

    def __str__(self) -> str:
        """The shape in brief: ``BertModel, 384 x 6``."""
        return f"{self.architecture}, {self.hidden_size} x {self.num_hidden_layers}"


class ComputeMode(_Record):
    """How a model computes.

    Attributes:
        device: The type of the device, such as "cpu".
        dtype: The name of the dtype.
        quantization: The scheme of the linear maps; None for none.
        deterministic: Whether results are independent of the batch.
    """

    device: str
    dtype: str
    quantization: str | None
    deterministic: bool

    def __str__(self) -> str:
        """The mode in brief: ``float32 on cpu, int8, deterministic``."""
        how = [f"{self.dtype} on {self.device}", self.quantization, "deterministic" if self.deterministic else None]
        return ", ".join(filter(None, how))


class Machine(_Record):
    """What a model computes on.

    Attributes:
        processor: The name of the processor, or of the GPU.
        cores: The cores that the process may use.
    """

    processor: str
    cores: Count

    def __str__(self) -> str:
        """The machine in brief: ``AMD EPYC, 2 cores``."""
        return f"{self.processor}, {self.cores} core{'' if self.cores == 1 else 's'}"


class ProfileKey(_Record):
    """What a profile holds for, and nothing else."""

    model: ModelShape
    mode: ComputeMode
    machine: Machine

    @property
    def file_name(self) -> str:
        """The name of the file that a profile of this key is kept in: legible in front, unique behind."""
        words = [self.model.architecture, f"{self.model.hidden_size}x{self.model.num_hidden_layers}", self.mode.device]
        words += [self.mode.dtype, self.mode.quantization or "", "deterministic" if self.mode.deterministic else ""]
        legible = "-".join(re.sub(r"[^A-Za-z0-9]", "_", word) for word in words if word)
        whole = json.dumps([FORMAT, self.model_dump()], sort_keys=True)
        return f"{legible}-{hashlib.sha256(whole.encode()).hexdigest()[:DIGITS]}.json"

    def differences(self, other: "ProfileKey") -> dict[str, list[str]]:
        """What another key says otherwise, by part: ``{"mode": ["dtype='bfloat16', not 'float32'"]}``."""
        found: dict[str, list[str]] = {}
        for part in type(self).model_fields:
            ours, theirs = getattr(self, part).model_dump(), getattr(other, part).model_dump()
            said = [f"{name}={ours[name]!r}, not {theirs[name]!r}" for name in ours if ours[name] != theirs[name]]
            if said:
                found[part] = said
        return found


class ProfileSettings(_Record):
    """What is better than the defaults; what is not here stays as it is by default.

    Attributes:
        kernels: The variants of ops, such as ``{"attention": "sdpa"}``.
        max_num_batched_tokens: The most tokens of a batch.
        num_workers: Single-threaded workers on a CPU.
    """

    kernels: dict[str, str] = Field(default_factory=dict)
    max_num_batched_tokens: Count | None = None
    num_workers: Count | None = None

    def __str__(self) -> str:
        """The settings as one line: ``attention=sdpa, num_workers=2``."""
        said = [f"{op}={variant}" for op, variant in sorted(self.kernels.items())]
        said += [f"{name}={value}" for name, value in self.engine.items()]
        return ", ".join(said) or "the defaults"

    @property
    def engine(self) -> dict[str, int]:
        """Those of the fields of ``EngineConfig`` that are set."""
        fields = {"max_num_batched_tokens": self.max_num_batched_tokens, "num_workers": self.num_workers}
        return {name: value for name, value in fields.items() if value is not None}


class Measured(_Record):
    """How a profile was found.

    Attributes:
        date: The day, as ``2026-11-21``.
        millpond: The version of Millpond.
        torch: The version of torch.
        seconds: How long it was measured.
        gain: How many times as fast as the defaults the settings are; None where they are the defaults.
        tokens_per_second: The tokens that the settings serve in a second.
    """

    date: str
    millpond: str
    torch: str
    seconds: Quantity
    gain: Quantity | None
    tokens_per_second: Quantity


class Profile(_Record):
    """What was found best, for what, and how.

    Attributes:
        format: The version of this form.
        key: What it holds for.
        settings: What was found best.
        measured: How it was found.
    """

    format: Literal[1] = FORMAT
    key: ProfileKey
    settings: ProfileSettings
    measured: Measured


def shape_of(architecture: str, config: Mapping[str, Any]) -> ModelShape:
    """The shape of a model.

    Args:
        architecture: The name of the architecture that serves it.
        config: Its config.json, whose names for one thing differ among architectures.
    """
    sizes = {field: next(filter(_is_size, map(config.get, names)), None) for field, names in SPELLINGS.items()}
    return ModelShape(architecture=architecture, **sizes)


def profile_folder() -> Path | None:
    """The folder that profiles are kept in; None if ``MILLPOND_PROFILES=0`` says none, or nobody has a home."""
    said = os.environ.get(VARIABLE)
    if said == NO_PROFILES:
        return None
    try:
        return Path(said).expanduser() if said else _config_home() / "millpond" / "profiles"
    except RuntimeError:  # there is no home
        return None


def read_profile(path: Path) -> Profile:
    """The profile in a file.

    Raises:
        InvalidInputError: If the file cannot be read, or what it holds is no profile of a known format.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise _refused(path, f"should hold a JSON object; it holds {type(content).__name__}")
    if content.get("format") != FORMAT:
        raise _refused(path, f"is of format {content.get('format')!r}; this Millpond reads format {FORMAT}")
    try:
        return validated(Profile, text, parameter="profile")
    except InvalidInputError as error:
        raise _refused(path, f"is damaged: {error.message.removeprefix('profile: ')}") from error


def write_profile(path: Path, profile: Profile) -> None:
    """Store a profile in a file, whole or not at all.

    Raises:
        OSError: If nothing can be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def stored_profiles(folder: Path) -> "Iterator[tuple[Path, Profile | InvalidInputError]]":
    """The files in a folder of profiles, each with its profile or why it has none; nothing if there is no folder."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield path, read_profile(path)
        except InvalidInputError as error:
            yield path, error


def _is_size(value: object) -> bool:
    return type(value) is int


def _refused(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"the profile {path} {why}", parameter="profile")


def _config_home() -> Path:
    """Where this user's settings are, by the conventions of the platform."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    said = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(said) if Path(said).is_absolute() else Path.home() / ".config"  # a relative one is to be ignored
