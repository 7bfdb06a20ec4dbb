"""Choice of the kernel of an op, with the reasons why other kernels are not used."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

from millpond.plugin.blame import blamed, breach, described, is_foreign
from millpond.plugin.output import importing
from millpond.plugin.target import imported
from millpond.types.compute import ComputeOptions
from millpond.types.errors import InvalidInputError, UnknownNameError, quoted

if TYPE_CHECKING:
    import torch

    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import KernelSpec

ONE_TENSOR_OPS = ("attention", "gelu", "layer_norm_residual", "normalize")  # their kernels return one tensor


@dataclass(frozen=True)
class KernelMatch:
    """A kernel, whether it fits the context of an op, and the reason."""

    entry: "Entry[KernelSpec]"
    fits: bool
    reason: str

    @cached_property
    def kernel(self) -> Callable[..., Any]:
        """The kernel, loaded; that of an external plugin is wrapped, so that its errors name the plugin."""
        return _loaded(self.entry)


@dataclass(frozen=True, kw_only=True)
class OpContext(ComputeOptions):
    """The device, dtype and options that an op is computed with.

    Attributes:
        device: The device.
        dtype: The dtype.
        required_features: The features that a kernel must have, such as "softcap".
    """

    device: "torch.device"
    dtype: "torch.dtype"
    required_features: tuple[str, ...] = ()


def rank_kernels(registry: "Registry", op: str, context: OpContext) -> list[KernelMatch]:
    """Return all kernels of an op, best first.

    Raises:
        UnknownNameError: If no plugin provides the op.
    """
    if not (entries := _preferred(registry, op)):
        ops = sorted(map(str, registry.kernels.grouped("op")))
        message = (
            f"Unknown op {op!r}. Available: {', '.join(ops) or 'none'}. A plugin provides it with register_kernels and "
            f"a record named '{op}.<variant>'"
        )
        raise UnknownNameError(message)
    return sorted([_match(registry, entry, context) for entry in entries], key=lambda match: not match.fits)


def choose_kernel(registry: "Registry", op: str, context: OpContext, *, variant: str | None = None) -> KernelMatch:
    """Choose the kernel of an op: the requested variant, else the kernel of highest priority that fits.

    Args:
        registry: The records of all plugins.
        op: The name of the op.
        context: The context of the op.
        variant: The name of a variant; by default the one that the user chose for the op.

    Raises:
        UnknownNameError: If no kernel fits, or the requested variant does not exist or does not fit.
    """
    variant = context.kernels.get(op) if variant is None else variant
    for entry in _preferred(registry, op):  # later kernels are not checked, which takes time
        if variant is None or is_named(entry, variant):
            match = _match(registry, entry, context)
            if match.fits:
                return match
    matches = rank_kernels(registry, op, context)
    requested = op if variant is None else f"{op}.{variant.removeprefix(f'{op}.')}"
    options = "".join(
        (
            f", {context.quantization}" if context.quantization else "",
            f", with {', '.join(context.required_features)}" if context.required_features else "",
            ", batch-invariant" if context.batch_invariant else "",
        )
    )
    message = f"no kernel for {requested!r} on {context.device.type} in {context.dtype}{options}: {_listing(matches)}"
    raise UnknownNameError(message)


def _loaded(entry: "Entry[KernelSpec]") -> Callable[..., Any]:
    kernel: Callable[..., Any] = entry.load()
    if not is_foreign(entry) or isinstance(kernel, type):
        return kernel

    from torch import Tensor

    @wraps(kernel)
    def named(*arguments: Any, **options: Any) -> Any:
        with blamed(entry):
            result = kernel(*arguments, **options)
        if entry.spec.op in ONE_TENSOR_OPS and not isinstance(result, Tensor):
            raise breach(entry, f"it returned {described(result)}; expected one tensor")
        return result

    return named


def load_activation(entry: "Entry[Any]") -> "Callable[[torch.Tensor], torch.Tensor]":
    """Return the function of an activation or of its kernel; the result of an external plugin's function is checked."""
    function: Callable[[torch.Tensor], torch.Tensor] = entry.load()
    if not is_foreign(entry):
        return function
    from torch import Tensor

    @wraps(function)
    def checked(x: Tensor) -> Tensor:
        with blamed(entry):
            activated: Any = function(x)
        if not isinstance(activated, Tensor) or activated.shape != x.shape:
            message = f"it returned {described(activated)}; expected a tensor {list(x.shape)}, the shape of its input"
            raise breach(entry, message)
        if not activated.is_floating_point() or activated.device != x.device:
            message = f"it returned {described(activated)} of {activated.dtype} on {activated.device}"
            raise breach(entry, f"{message}; expected floating-point numbers on {x.device}")
        return activated.clone()  # it may use its memory for the next batch

    return checked


def is_named(entry: "Entry[KernelSpec]", variant: str) -> bool:
    """True if a variant such as ``sdpa``, ``attention.sdpa`` or ``kernels/attention.sdpa`` names the kernel."""
    return variant in (entry.spec.variant, entry.spec.name, entry.qualified)


def check_variants(registry: "Registry", context: OpContext) -> None:
    """Reject variants that no plugin provides, even if the model does not use their ops.

    Raises:
        UnknownNameError: If an op, or a variant of an op, does not exist.
    """
    for op, variant in context.kernels.items():
        if not any(is_named(match.entry, variant) for match in rank_kernels(registry, op, context)):
            choose_kernel(registry, op, context)  # raises UnknownNameError


def unquantized_variants(registry: "Registry", variants: Mapping[str, str]) -> dict[str, str]:
    """Return the chosen variants of ops, without those that are only for a quantization."""
    quantized = [entry for entry in registry.kernels.entries() if entry.spec.quantization is not None]
    return {
        op: variant
        for op, variant in variants.items()
        if not any(entry.spec.op == op and is_named(entry, variant) for entry in quantized)
    }


def check_quantization(registry: "Registry", context: OpContext) -> None:
    """Reject a quantization that would not apply to the linear layers.

    Raises:
        InvalidInputError: If no kernel of the op ``linear`` supports it here, or another variant was chosen.
    """
    if context.quantization is None:
        return
    chosen = choose_kernel(registry, "linear", context)
    if chosen.entry.spec.quantization != context.quantization:
        listing = _listing(rank_kernels(registry, "linear", context))
        message = f"quantization={context.quantization!r} is not supported by {chosen.entry.spec.name!r}: {listing}"
        raise InvalidInputError(message, parameter="quantization")


def _preferred(registry: "Registry", op: str) -> "tuple[Entry[KernelSpec], ...]":
    """The kernels of an op: those for a quantization first, then by descending priority."""

    def ordered() -> "tuple[Entry[KernelSpec], ...]":
        entries = registry.kernels.grouped("op").get(op, ())
        return tuple(sorted(entries, key=lambda entry: (entry.spec.quantization is None, -entry.spec.priority)))

    return registry.kernels.view(f"kernels of {op}", ordered)


def _match(registry: "Registry", entry: "Entry[KernelSpec]", context: OpContext) -> KernelMatch:
    spec = entry.spec
    if spec.devices and context.device.type not in spec.devices:
        return KernelMatch(entry, fits=False, reason=f"runs on {', '.join(spec.devices)}, not on {context.device.type}")
    name = str(context.dtype).removeprefix("torch.")
    if spec.dtypes and name not in spec.dtypes:
        return KernelMatch(entry, fits=False, reason=f"computes in {', '.join(spec.dtypes)}, not in {name}")
    if spec.quantization not in (None, context.quantization):
        return KernelMatch(entry, fits=False, reason=f"is only for quantization={spec.quantization!r}")
    if context.batch_invariant and not spec.batch_invariant:
        return KernelMatch(entry, fits=False, reason="is not batch-invariant")
    required = context.required_features
    missing = [feature for feature in required if feature not in spec.features] if required else []
    refusal = f"does not support {', '.join(missing)}" if missing else _unavailable(entry)
    if refusal is None and spec.fuses:
        refusals = (_refusal_of_part(registry, entry, part, context) for part in spec.fuses)
        refusal = next((each for each in refusals if each is not None), None)
    if refusal is not None:
        return KernelMatch(entry, fits=False, reason=refusal)
    fuses = f", fuses {', '.join(spec.fuses)}" if spec.fuses else ""
    return KernelMatch(entry, fits=True, reason=f"fits, priority {spec.priority}{fuses}")


def _refusal_of_part(registry: "Registry", entry: "Entry[KernelSpec]", part: str, context: OpContext) -> str | None:
    """The reason why a fused kernel cannot replace the kernel of one of its parts; None if it can."""
    op, _, variant = part.rpartition("/")[2].partition(".")
    named = context.kernels.get(op)
    if not variant:
        return None if named is None else f"fuses {op}, for which {named!r} was chosen"
    try:
        chosen = choose_kernel(registry, op, replace(context, required_features=())).entry
    except UnknownNameError as error:
        return f"fuses {part}: {error}"
    same_plugin = "/" in part or chosen.origin.plugin == entry.origin.plugin
    return None if same_plugin and is_named(chosen, part) else f"fuses {part}, but {chosen.qualified} is used here"


def _unavailable(entry: "Entry[KernelSpec]") -> str | None:
    """The reason why a kernel cannot run on this machine, from its ``available`` function; None if it can.

    A function that fails makes only its own kernel unavailable.
    """
    target = entry.spec.available
    if target is None:
        return None
    try:
        with importing(f"{entry.label} ({target})") if is_foreign(entry) else nullcontext():
            runs = imported(target)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may raise any exception
        return f"{target} failed ({quoted(error)})"
    if isinstance(runs, str):
        return runs
    return None if runs else f"cannot run here ({target} returned {runs!r})"


def _listing(matches: Sequence[KernelMatch]) -> str:
    return "; ".join(f"{match.entry.spec.name} {match.reason}" for match in matches)
