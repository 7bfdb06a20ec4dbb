"""Rotary positions: query and key are turned by angles that grow with the place (Su et al., 2021, arXiv 2104.09864).

``rope_type`` in config.json says how the frequencies were stretched for texts longer than those of the training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor, log, pi
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

DEFAULT_THETA = 10_000.0


class Rotation(NamedTuple):
    """By what the rows of a batch are turned: cosines and sines, each [num_tokens, 1, head_dim // 2].

    ``kernel`` is the op ``rotary``.
    """

    cos: Tensor
    sin: Tensor
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, heads, head_dim] -> the same, value i of a head's first half turned with i of its second.

        Where there are cosines for a part of a head, that part is turned, and what stands behind it stays. x may be
        overwritten.
        """
        return self.kernel(x, self.cos, self.sin)


@dataclass(frozen=True, kw_only=True)
class RotarySettings:
    """What config.json says of rotary positions.

    Attributes:
        kind: ``rope_type``.
        size: The dimensions of a head.
        theta: The base of the frequencies.
        longest: ``max_position_embeddings``.
        options: What else stands beside ``rope_type``.
    """

    kind: str
    size: int
    theta: float
    longest: int
    options: Mapping[str, Any]

    @classmethod
    def read(cls, config: CheckpointConfig, size: int) -> "RotarySettings":
        """Of ``rope_parameters``, or as it was spelled before: ``rope_scaling`` and, beside it, ``rope_theta``.

        Raises:
            CheckpointError: If config.json asks for what is not known here.
        """
        options = {**_options(config, "rope_parameters"), **_options(config, "rope_scaling")}
        kind = options.get("rope_type", "default")
        if kind not in FREQUENCIES:
            message = f"config.json asks for rope_type {kind!r}; known are {', '.join(FREQUENCIES)}"
            raise CheckpointError(message)
        part = options.get("partial_rotary_factor", config.get("partial_rotary_factor"))
        if part not in (None, 1) or size % 2:
            message = (
                f"config.json: heads of {size} dimensions with partial_rotary_factor {part!r}; here a whole head is "
                "turned, of an even number of dimensions"
            )
            raise CheckpointError(message)
        before = config.get("original_max_position_embeddings")
        return cls(
            kind=kind,
            size=size,
            theta=float(options.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA),
            longest=config.get("max_position_embeddings", 2048),
            options=options if before is None else {**options, "original_max_position_embeddings": before},
        )

    @property
    def trained_length(self) -> float:
        """The longest text of the training before the frequencies were stretched."""
        return float(self.options.get("original_max_position_embeddings") or self.longest)

    def number(self, name: str) -> float:
        """An option that the kind cannot do without.

        Raises:
            CheckpointError: If it is not there, or no number.
        """
        value = self.options.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"config.json: rope_type {self.kind!r} takes a number {name!r}; got {value!r}"
            raise CheckpointError(message)
        return float(value)


def _options(config: CheckpointConfig, key: str) -> dict[str, Any]:
    given = config.get(key) or {}
    if any(isinstance(value, Mapping) for value in given.values()):
        message = f"config.json has {key} for each kind of layer ({', '.join(given)}); here all layers share one"
        raise CheckpointError(message)
    options = dict(given)
    kind = options.pop("type", None)
    return options if kind is None else {"rope_type": kind, **options}


def default_frequencies(settings: RotarySettings) -> Tensor:
    """Angles per place, [size // 2], float32: ``theta ** (-2i / size)``."""
    exponents = torch.arange(0, settings.size, 2, device="cpu").float() / settings.size
    return 1.0 / settings.theta**exponents


def linear_frequencies(settings: RotarySettings) -> Tensor:
    """All slower by one factor."""
    return default_frequencies(settings) / settings.number("factor")


def llama3_frequencies(settings: RotarySettings) -> Tensor:
    """Slow ones slower by a factor, fast ones as they are, between them a mixture (arXiv 2407.21783)."""
    fast = default_frequencies(settings)
    slow = fast / settings.number("factor")
    low, high = settings.number("low_freq_factor"), settings.number("high_freq_factor")
    turns = settings.trained_length * fast / (2 * pi)
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - share) * slow + share * fast


def yarn_frequencies(settings: RotarySettings) -> Tensor:
    """Like ``llama3_frequencies``, with a ramp over the dimensions (Peng et al., 2023, arXiv 2309.00071)."""
    fast = default_frequencies(settings)
    slow = fast / settings.number("factor")

    def dimension(turns: float) -> float:
        return settings.size * log(settings.trained_length / (turns * 2 * pi)) / (2 * log(settings.theta))

    start = dimension(settings.options.get("beta_fast") or 32)
    stop = dimension(settings.options.get("beta_slow") or 1)
    if settings.options.get("truncate", True):
        start, stop = floor(start), ceil(stop)
    start, stop = max(start, 0), min(stop, settings.size - 1)
    width = stop - start or 0.001
    share = 1 - ((torch.arange(settings.size // 2, device="cpu") - start) / width).clamp(0, 1)
    return (1 - share) * slow + share * fast


def ntk_frequencies(settings: RotarySettings) -> Tensor:
    """The slower the slower ones are: number m, counted from 1, by ``exp(a * m ** mixed_b)``.

    Where ``mixed_b`` is not said, it is 1; a is such that the last is slower by the factor
    (https://kexue.fm/archives/9706).
    """
    factor, mixed = settings.number("factor"), settings.options.get("mixed_b")
    count = settings.size // 2
    numbers = torch.arange(1, count + 1, device="cpu").float()
    bend = 1.0 if mixed is None else settings.number("mixed_b")
    slower: Tensor = (log(factor) / count**bend * numbers**bend).exp()
    return default_frequencies(settings) / slower


def yarn_attention(settings: RotarySettings) -> float:
    """What queries and keys are multiplied with, so that attention stays as sharp as it was."""
    given = settings.options.get("attention_factor")
    if given is not None:
        return float(given)
    factor = settings.number("factor")

    def sharpness(share: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * share * log(factor) + 1

    upper, lower = settings.options.get("mscale"), settings.options.get("mscale_all_dim")
    return sharpness(upper) / sharpness(lower) if upper and lower else sharpness(1)


FREQUENCIES: Mapping[str, Callable[[RotarySettings], Tensor]] = MappingProxyType(
    {
        "default": default_frequencies,
        "linear": linear_frequencies,
        "dynamic": default_frequencies,
        "llama3": llama3_frequencies,
        "yarn": yarn_frequencies,
        "ntk": ntk_frequencies,
    }
)


class Rotary(nn.Module):
    """Makes the rotation of a batch; models make one, and all their layers turn by it."""

    def __init__(self, ctx: Context, *, head_dim: int) -> None:
        super().__init__()
        self.settings = RotarySettings.read(ctx.config, head_dim)
        # No buffers: those would be made on the meta device, on which models are built.
        self.frequencies = FREQUENCIES[self.settings.kind](self.settings).to(ctx.device)
        self.factor = self.settings.number("factor") if self.settings.kind == "dynamic" else None
        self.size = yarn_attention(self.settings) if self.settings.kind == "yarn" else 1.0
        self.dtype = ctx.dtype
        self.kernel = ctx.op("rotary")

    def forward(self, batch: PackedBatch) -> Rotation:
        """The rotation of each token of a batch."""
        places = batch.positions.float().unsqueeze(1)
        angles = (places * self._frequencies(batch)).unsqueeze(1)
        cos, sin = ((part * self.size).to(self.dtype) for part in (angles.cos(), angles.sin()))
        return Rotation(cos, sin, self.kernel)

    def _frequencies(self, batch: PackedBatch) -> Tensor:
        """[head_dim // 2] for all tokens; if some text is longer than ``dynamic`` leaves alone, a row for each."""
        if self.factor is None or batch.max_length <= self.settings.longest:
            return self.frequencies
        rows = [
            self._stretched(self.factor, group.length).expand(group.count * group.length, -1)
            for group in batch.equal_length_groups
        ]
        return torch.cat(rows)

    def _stretched(self, factor: float, length: int) -> Tensor:
        """The frequencies of a text of some length, by a larger base (NTK-aware scaling)."""
        settings = self.settings
        excess = factor * max(length, settings.longest) / settings.longest - (factor - 1)
        theta = settings.theta * excess ** (settings.size / (settings.size - 2))
        return default_frequencies(replace(settings, theta=theta)).to(self.frequencies.device)
