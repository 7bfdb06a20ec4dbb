"""ComputeOptions: kernels, quantization and batch invariance of a model; checks of names, without torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from millpond.types.errors import InvalidInputError

BFLOAT16_WEIGHTS = "bfloat16"  # the scheme of models whose weights are in bfloat16, and everything else in float32
DTYPES = ("float32", "float16", "bfloat16")  # that models compute in
KNOWN_DTYPES = ("auto", "float32", "float", "bfloat16", "float16", "half")
COMMON_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
OTHER_DEVICES = ("hpu", "ipu", "maia", "meta", "mtia", "npu", "vulkan", "xla")  # torch decides whether it has them
OTHER_NAMES_OF_DEVICES = {"gpu": "cuda"}


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Options of the computation of a model.

    Attributes:
        kernels: The variants of ops that the user chose, such as ``{"attention": "sdpa"}``.
        quantization: The scheme of the model's linear layers, such as "int8"; None for none. Poolers and heads are not
            quantized.
        batch_invariant: True if the bits of a result must not depend on other prompts of its batch.
    """

    kernels: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
    batch_invariant: bool = False


def check_names(arguments: Mapping[str, object], schemes: Collection[str]) -> None:
    """Check ``dtype``, ``device`` and ``quantization`` among the arguments of a model.

    Args:
        arguments: The arguments.
        schemes: The quantization schemes of all installed kernels.

    Raises:
        InvalidInputError: If a name is unknown; the message suggests a similar one.
    """
    check_dtype(arguments.get("dtype") or "auto")
    _check_device(arguments.get("device"))
    quantization = arguments.get("quantization")
    if quantization is not None and quantization not in schemes:
        known = ", ".join(sorted(schemes)) or "none"
        message = f"Unknown quantization={quantization!r}. Available: {known}{_suggestion(quantization, schemes)}"
        raise InvalidInputError(message, parameter="quantization")


def check_dtype(dtype: object) -> str:
    """Return the name of a dtype without ``torch.``.

    Raises:
        InvalidInputError: If it is unknown.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in KNOWN_DTYPES:
        known = ", ".join(KNOWN_DTYPES)
        message = f"dtype={name!r}: expected one of {known}{_suggestion(name, KNOWN_DTYPES)}"
        raise InvalidInputError(message, parameter="dtype")
    return name


def _check_device(device: object) -> None:
    """Refuse a misspelled device; torch checks other names, because its plugins can add devices."""
    if not isinstance(device, str):
        return
    name, colon, number = device.partition(":")
    close = OTHER_NAMES_OF_DEVICES.get(name) or next(iter(get_close_matches(name, COMMON_DEVICES, n=1)), None)
    is_known = name in (*COMMON_DEVICES, *OTHER_DEVICES)
    has_number = not colon or (number.isascii() and number.isdecimal())
    if (is_known and has_number) or (not is_known and close is None):
        return
    suggested = f"{close if not is_known else name}{colon + number if has_number else ''}"
    message = (
        f"device={device!r} cannot be used: expected auto, cpu, cuda, cuda:N or another device of torch. Did you "
        f"mean {suggested!r}?"
    )
    raise InvalidInputError(message, parameter="device")


def _suggestion(name: object, known: Collection[str]) -> str:
    close = get_close_matches(str(name), known, n=1)
    return f". Did you mean {close[0]!r}?" if close else ""
