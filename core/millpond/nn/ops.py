"""Which implementation of an op is taken, and why the others are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from torch import Tensor

from millpond.compat.kernel_features import current_features
from millpond.compat.renamed import renamed_contents, renamed_fields
from millpond.plugin.blame import blamed, breach, described, is_foreign
from millpond.plugin.target import imported
from millpond.types.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    import torch

    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import KernelSpec

ONE_TENSOR = ("attention", "gelu", "layer_norm_residual", "normalize")  # ops whose kernels return nothing else


@dataclass(frozen=True)
class KernelMatch:
    """Whether a kernel can serve here; ``reason`` says why not, or that it was chosen."""

    entry: "Entry[KernelSpec]"
    fits: bool
    reason: str


@renamed_fields(needs="required_features")
@dataclass(frozen=True, kw_only=True)
class OpContext:
    """Where an op is to be computed, and how.

    Attributes:
        device: Where.
        dtype: What in.
        quantization: The scheme that is asked for; None for none.
        batch_invariant: Whether a result must not depend on what shares its batch, to the bit.
        required_features: The features that a kernel must have, such as "softcap".
        kernels: The variants of ops that the user chose.
    """

    device: "torch.device"
    dtype: "torch.dtype"
    quantization: str | None = None
    batch_invariant: bool = False
    required_features: tuple[str, ...] = ()
    kernels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Rename former features."""
        object.__setattr__(self, "required_features", current_features(self.required_features))


def rank_kernels(registry: "Registry", op: str, setting: OpContext) -> list[KernelMatch]:
    """All implementations of an op, the one to take first.

    Raises:
        UnknownNameError: If no plugin brings the op.
    """
    entries = registry.kernels.grouped("op").get(op, ())
    if not entries:
        ops = sorted(map(str, registry.kernels.grouped("op")))
        message = (
            f"no plugin brings the op {op!r}; there are: {', '.join(ops) or 'none'}. "
            f"A plugin brings it by register_kernels with a record named '{op}.<variant>'"
        )
        raise UnknownNameError(message)
    verdicts = [_judge(registry, entry, setting) for entry in entries]
    return sorted(verdicts, key=_rank)


def choose_kernel(registry: "Registry", op: str, setting: OpContext, *, variant: str | None = None) -> KernelMatch:
    """The implementation to take: the one named, or of those that fit the one of highest priority.

    Args:
        registry: The records of all plugins.
        op: The name of the op.
        setting: Where and how it is to be computed.
        variant: The name of a variant; by default what the user chose for the op.

    Raises:
        UnknownNameError: If none fits, or the one named is not there or cannot serve here.
    """
    variant = setting.kernels.get(op) if variant is None else variant
    verdicts = rank_kernels(registry, op, setting)
    candidates = [verdict for verdict in verdicts if variant is None or is_named(verdict.entry, variant)]
    if candidates and candidates[0].fits:
        return candidates[0]
    asked = op if variant is None else f"{op}.{variant.removeprefix(f'{op}.')}"
    how = "".join(
        (
            f", {setting.quantization}" if setting.quantization else "",
            f", with {', '.join(setting.required_features)}" if setting.required_features else "",
            _INVARIANT[setting.batch_invariant],
        )
    )
    message = f"no kernel serves {asked!r} on {setting.device.type} in {setting.dtype}{how}: {_listing(verdicts)}"
    raise UnknownNameError(message)


def loaded_kernel(entry: "Entry[KernelSpec]") -> Callable[..., Any]:
    """The kernel of a record; a function of a plugin that is not built in is wrapped, so that its errors name it."""
    kernel: Callable[..., Any] = entry.load()
    if not is_foreign(entry) or isinstance(kernel, type):
        return kernel

    @wraps(kernel)
    def named(*arguments: Any, **options: Any) -> Any:
        with blamed(entry):
            result = kernel(*arguments, **options)
        if entry.spec.op in ONE_TENSOR and not isinstance(result, Tensor):
            raise breach(entry, f"it returned {described(result)}; expected one tensor")
        return result

    return named


def is_named(entry: "Entry[KernelSpec]", variant: str) -> bool:
    """Whether a kernel is meant by ``sdpa``, ``attention.sdpa`` or ``kernels/attention.sdpa``."""
    return variant in (entry.spec.variant, entry.spec.name, entry.qualified)


def check_variants(registry: "Registry", setting: OpContext) -> None:
    """Refuse variants that no plugin provides, even if the model does not ask for their ops.

    Raises:
        UnknownNameError: If there is no such op, or no such variant of it.
    """
    for op, variant in setting.kernels.items():
        if not any(is_named(verdict.entry, variant) for verdict in rank_kernels(registry, op, setting)):
            choose_kernel(registry, op, setting)  # raises: there is none of that name


def unquantized_variants(registry: "Registry", variants: Mapping[str, str]) -> dict[str, str]:
    """The chosen variants of ops, without those that serve a quantization alone."""
    quantized = [entry for entry in registry.kernels.entries() if entry.spec.quantization is not None]
    return {
        op: variant
        for op, variant in variants.items()
        if not any(entry.spec.op == op and is_named(entry, variant) for entry in quantized)
    }


def check_quantization(registry: "Registry", setting: OpContext) -> None:
    """Refuse a quantization that the linear maps would not be computed in.

    Raises:
        InvalidInputError: If no kernel of the op ``linear`` serves it here, or another variant was chosen.
    """
    if setting.quantization is None:
        return
    known = sorted({e.spec.quantization for e in registry.kernels.entries() if e.spec.quantization is not None})
    if setting.quantization not in known:
        message = f"quantization={setting.quantization!r}: no kernel computes in it; there are: {', '.join(known)}"
        raise InvalidInputError(message, parameter="quantization")
    chosen = choose_kernel(registry, "linear", setting)
    if chosen.entry.spec.quantization != setting.quantization:
        verdicts = _listing(rank_kernels(registry, "linear", setting))
        message = (
            f"quantization={setting.quantization!r} is not what {chosen.entry.spec.name!r} computes in: {verdicts}"
        )
        raise InvalidInputError(message, parameter="quantization")


_INVARIANT = {False: "", True: ", independent of the batch"}


def _rank(verdict: KernelMatch) -> tuple[bool, bool, int]:
    spec = verdict.entry.spec
    return not verdict.fits, spec.quantization is None, -spec.priority


def _judge(registry: "Registry", entry: "Entry[KernelSpec]", setting: OpContext) -> KernelMatch:
    spec = entry.spec
    if spec.devices and setting.device.type not in spec.devices:
        return KernelMatch(entry, fits=False, reason=f"runs on {', '.join(spec.devices)}, not on {setting.device.type}")
    name = str(setting.dtype).removeprefix("torch.")
    if spec.dtypes and name not in spec.dtypes:
        return KernelMatch(entry, fits=False, reason=f"computes in {', '.join(spec.dtypes)}, not in {name}")
    if spec.quantization not in (None, setting.quantization):
        return KernelMatch(entry, fits=False, reason=f"serves quantization={spec.quantization!r} alone")
    if setting.batch_invariant and not spec.batch_invariant:
        return KernelMatch(entry, fits=False, reason="does not promise results that are independent of the batch")
    missing = [feature for feature in setting.required_features if feature not in spec.features]
    refusal = f"does not support {', '.join(missing)}" if missing else _ask(spec.available)
    if refusal is None:
        refusals = (_refusal_of_part(registry, entry, part, setting) for part in spec.fuses)
        refusal = next((each for each in refusals if each is not None), None)
    if refusal is not None:
        return KernelMatch(entry, fits=False, reason=refusal)
    fuses = f", fuses {', '.join(spec.fuses)}" if spec.fuses else ""
    return KernelMatch(entry, fits=True, reason=f"fits, priority {spec.priority}{fuses}")


def _refusal_of_part(registry: "Registry", entry: "Entry[KernelSpec]", part: str, setting: OpContext) -> str | None:
    """Why a kernel that fuses others does not stand for what serves the op of one of them here; None if it does."""
    op, _, variant = part.rpartition("/")[2].partition(".")
    named = setting.kernels.get(op)
    if not variant:
        return None if named is None else f"fuses {op}, of which {named!r} was chosen"
    try:
        serving = choose_kernel(registry, op, replace(setting, required_features=())).entry
    except UnknownNameError as error:
        return f"fuses {part}: {error}"
    same_plugin = "/" in part or serving.origin.plugin == entry.origin.plugin
    return None if same_plugin and is_named(serving, part) else f"fuses {part}; {serving.qualified} serves here"


def _ask(target: str | None) -> str | None:
    """Why a kernel cannot run here, or None; a question that cannot be answered is a no, and no harm to the others."""
    if target is None:
        return None
    try:
        runs = imported(target)()
    except Exception as error:  # noqa: BLE001  whatever a plugin raises
        return f"{target} cannot be asked ({type(error).__name__}: {error})"
    if isinstance(runs, str):
        return runs
    return None if runs else f"{target} says it cannot run here"


def _listing(verdicts: Sequence[KernelMatch]) -> str:
    return "; ".join(f"{verdict.entry.spec.name} {verdict.reason}" for verdict in verdicts)


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = renamed_contents(
        __name__, {"Setting": "OpContext", "Verdict": "KernelMatch", "judge_kernels": "rank_kernels"}
    )
