"""Rotary position embeddings: queries and keys are rotated by position-dependent angles (arXiv 2104.09864).

``rope_type`` in config.json selects how the frequencies are scaled for texts longer than those in training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor, log, pi
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, to_device
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

DEFAULT_THETA = 10_000.0


class Rotation(NamedTuple):
    """Cosines and sines of a batch, each [num_tokens, 1, rotary_dim // 2]; call it to rotate queries or keys.

    ``kernel`` is the op ``rotary``.
    """

    cos: Tensor
    sin: Tensor
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, heads, head_dim] -> the same shape, with value i of the first half rotated with i of the second.

        If ``rotary_dim`` is less than ``head_dim``, only the first ``rotary_dim`` dimensions are rotated. x may be
        overwritten.
        """
        return self.kernel(x, self.cos, self.sin)


@dataclass(frozen=True, kw_only=True)
class RotarySettings:
    """The rotary settings of config.json.

    Attributes:
        rope_type: ``rope_type`` of config.json.
        size: Number of rotated dimensions per head.
        theta: Base of the frequencies, ``rope_theta``.
        longest: ``max_position_embeddings``.
        options: The other rotary parameters, such as ``factor``.
    """

    rope_type: str
    size: int
    theta: float
    longest: int
    options: Mapping[str, Any]

    @classmethod
    def read(cls, config: CheckpointConfig, size: int) -> "RotarySettings":
        """Read ``rope_parameters``, or the older ``rope_scaling`` and ``rope_theta``.

        Raises:
            CheckpointError: If config.json requests unsupported settings.
        """
        options = {**_options(config, "rope_parameters"), **_options(config, "rope_scaling")}
        rope_type = options.get("rope_type", "default")
        if rope_type not in FREQUENCIES:
            message = f"config.json: unknown rope_type {rope_type!r}. Available: {', '.join(FREQUENCIES)}"
            raise CheckpointError(message)
        partial = options.get("partial_rotary_factor", config.get("partial_rotary_factor"))
        if partial not in (None, 1) or size % 2:
            message = (
                f"config.json: unsupported partial_rotary_factor {partial!r} with head dimension {size}: this model "
                "rotates whole heads, and their dimension must be even"
            )
            raise CheckpointError(message)
        original_length = config.get("original_max_position_embeddings")
        if original_length is not None:
            options["original_max_position_embeddings"] = original_length
        return cls(
            rope_type=rope_type,
            size=size,
            theta=float(options.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA),
            longest=config.get("max_position_embeddings", 2048),
            options=options,
        )

    @property
    def trained_length(self) -> float:
        """Maximum length in training, before the frequencies were scaled."""
        return float(self.options.get("original_max_position_embeddings") or self.longest)

    def number(self, name: str) -> float:
        """Return a required option.

        Raises:
            CheckpointError: If it is missing or not a number.
        """
        value = self.options.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"config.json: rope_type {self.rope_type!r} requires a number {name!r}; got {value!r}"
            raise CheckpointError(message)
        return float(value)


def _options(config: CheckpointConfig, key: str) -> dict[str, Any]:
    options = dict(config.get(key) or {})
    if any(isinstance(value, Mapping) for value in options.values()):
        message = (
            f"config.json: unsupported {key} per layer type ({', '.join(options)}): the layers of this model share one"
        )
        raise CheckpointError(message)
    rope_type = options.pop("type", None)
    return options if rope_type is None else {"rope_type": rope_type, **options}


def default_frequencies(settings: RotarySettings) -> Tensor:
    """Return the angles per position, [size // 2], float32: ``theta ** (-2i / size)``."""
    exponents = torch.arange(0, settings.size, 2, device="cpu").float() / settings.size
    return 1.0 / settings.theta**exponents


def linear_frequencies(settings: RotarySettings) -> Tensor:
    """Divide all frequencies by ``factor`` (position interpolation)."""
    return default_frequencies(settings) / settings.number("factor")


def llama3_frequencies(settings: RotarySettings) -> Tensor:
    """Divide low frequencies by ``factor``, keep high ones and interpolate between (Llama 3.1, arXiv 2407.21783)."""
    fast = default_frequencies(settings)
    slow = fast / settings.number("factor")
    low, high = settings.number("low_freq_factor"), settings.number("high_freq_factor")
    rotations = settings.trained_length * fast / (2 * pi)
    ramp = ((rotations - low) / (high - low)).clamp(0, 1)
    return (1 - ramp) * slow + ramp * fast


def yarn_frequencies(settings: RotarySettings) -> Tensor:
    """YaRN: interpolate between scaled and original frequencies along the dimensions (arXiv 2309.00071)."""
    fast = default_frequencies(settings)
    slow = fast / settings.number("factor")

    def dimension(rotations: float) -> float:
        return settings.size * log(settings.trained_length / (rotations * 2 * pi)) / (2 * log(settings.theta))

    start = dimension(settings.options.get("beta_fast") or 32)
    stop = dimension(settings.options.get("beta_slow") or 1)
    if settings.options.get("truncate", True):
        start, stop = floor(start), ceil(stop)
    start, stop = max(start, 0), min(stop, settings.size - 1)
    width = stop - start or 0.001
    ramp = 1 - ((torch.arange(settings.size // 2, device="cpu") - start) / width).clamp(0, 1)
    return (1 - ramp) * slow + ramp * fast


def ntk_frequencies(settings: RotarySettings) -> Tensor:
    """Divide frequency m, counted from 1, by ``exp(a * m ** mixed_b)``.

    ``mixed_b`` is 1 by default, and ``a`` is chosen such that the last frequency is divided by ``factor``
    (https://kexue.fm/archives/9706).
    """
    factor, mixed = settings.number("factor"), settings.options.get("mixed_b")
    count = settings.size // 2
    indices = torch.arange(1, count + 1, device="cpu").float()
    exponent = 1.0 if mixed is None else settings.number("mixed_b")
    divisors: Tensor = (log(factor) / count**exponent * indices**exponent).exp()
    return default_frequencies(settings) / divisors


def yarn_attention(settings: RotarySettings) -> float:
    """Return YaRN's factor of queries and keys, which compensates for the change of attention entropy."""
    attention_factor = settings.options.get("attention_factor")
    if attention_factor is not None:
        return float(attention_factor)
    factor = settings.number("factor")

    def mscale_of(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * log(factor) + 1

    mscale, mscale_all_dim = settings.options.get("mscale"), settings.options.get("mscale_all_dim")
    return mscale_of(mscale) / mscale_of(mscale_all_dim) if mscale and mscale_all_dim else mscale_of(1)


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
    """Computes the rotation of a batch; all layers of a model share one."""

    def __init__(self, ctx: Context, *, head_dim: int) -> None:
        super().__init__()
        self.settings = RotarySettings.read(ctx.config, head_dim)
        # Not buffers: models are built on the meta device, and buffers would be created there.
        self.frequencies = FREQUENCIES[self.settings.rope_type](self.settings).to(ctx.device)
        self.factor = self.settings.number("factor") if self.settings.rope_type == "dynamic" else None
        self.size = yarn_attention(self.settings) if self.settings.rope_type == "yarn" else 1.0
        self.dtype = ctx.dtype
        self.kernel = ctx.op("rotary")

    @property
    def depends_on_length(self) -> bool:
        """True if the rotation of a token depends on the length of its sequence, not only on its position."""
        return self.factor is not None

    def forward(self, batch: PackedBatch) -> Rotation:
        """Return the cosines and sines of each token of a batch."""
        positions = batch.positions.float().unsqueeze(1)
        angles = (positions * self._frequencies(batch)).unsqueeze(1)
        cos, sin = ((values * self.size).to(self.dtype) for values in (angles.cos(), angles.sin()))
        return Rotation(cos, sin, self.kernel)

    def _frequencies(self, batch: PackedBatch) -> Tensor:
        """[head_dim // 2] for all tokens, or one row per token if ``dynamic`` scaling applies to a sequence."""
        if self.factor is None or batch.max_length <= self.settings.longest:
            return self.frequencies
        rows = [
            self._stretched(self.factor, group.length).expand(group.count * group.length, -1)
            for group in batch.equal_length_groups
        ]
        return torch.cat(rows)

    def _stretched(self, factor: float, length: int) -> Tensor:
        """Return the frequencies for a text length, with a larger base (dynamic NTK scaling)."""
        settings = self.settings
        base_factor = factor * max(length, settings.longest) / settings.longest - (factor - 1)
        theta = settings.theta * base_factor ** (settings.size / (settings.size - 2))
        return to_device(default_frequencies(replace(settings, theta=theta)), self.frequencies.device)
