"""Which implementation of an op is taken, and why the others are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from millpond.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

    from millpond.registry import Entry, Registry
    from millpond.specs import KernelSpec


@dataclass(frozen=True)
class Verdict:
    """Whether a kernel can serve here; ``reason`` says why not, or that it was chosen."""

    entry: "Entry[KernelSpec]"
    fits: bool
    reason: str


def judge_kernels(registry: "Registry", op: str, *, device: "torch.device", dtype: "torch.dtype") -> list[Verdict]:
    """All implementations of an op, the one to take first.

    Raises:
        UnknownNameError: If no plugin brings the op.
    """
    entries = [entry for entry in registry.kernels.entries() if entry.spec.op == op]
    if not entries:
        ops = sorted({entry.spec.op for entry in registry.kernels.entries()})
        message = (
            f"no plugin brings the op {op!r}; there are: {', '.join(ops) or 'none'}. "
            f"A plugin brings it by register_kernels with a record named '{op}.<variant>'"
        )
        raise UnknownNameError(message)
    verdicts = [_judge(entry, device, dtype) for entry in entries]
    return sorted(verdicts, key=lambda verdict: (not verdict.fits, -verdict.entry.spec.priority))


def choose_kernel(
    registry: "Registry", op: str, *, device: "torch.device", dtype: "torch.dtype", variant: str | None = None
) -> Verdict:
    """The implementation to take: the one named, or of those that fit the one of highest priority.

    Raises:
        UnknownNameError: If none fits, or the one named is not there or cannot serve here.
    """
    verdicts = judge_kernels(registry, op, device=device, dtype=dtype)
    if variant is None:
        candidates = verdicts
    else:
        candidates = [v for v in verdicts if variant in (v.entry.spec.variant, v.entry.spec.name, v.entry.qualified)]
    if candidates and candidates[0].fits:
        return candidates[0]
    asked = op if variant is None else f"{op}.{variant.removeprefix(f'{op}.')}"
    message = f"no kernel serves {asked!r} on {device.type} in {dtype}: {_listing(verdicts)}"
    raise UnknownNameError(message)


def _judge(entry: "Entry[KernelSpec]", device: "torch.device", dtype: "torch.dtype") -> Verdict:
    spec = entry.spec
    if spec.devices and device.type not in spec.devices:
        return Verdict(entry, fits=False, reason=f"runs on {', '.join(spec.devices)}, not on {device.type}")
    name = str(dtype).removeprefix("torch.")
    if spec.dtypes and name not in spec.dtypes:
        return Verdict(entry, fits=False, reason=f"computes in {', '.join(spec.dtypes)}, not in {name}")
    if spec.available is not None:
        refusal = _ask(spec.available)
        if refusal is not None:
            return Verdict(entry, fits=False, reason=refusal)
    return Verdict(entry, fits=True, reason=f"fits, priority {spec.priority}")


def _ask(target: str) -> str | None:
    """Why a kernel cannot run here, or None; a question that cannot be answered is a no, and no harm to the others."""
    module, _, name = target.partition(":")
    try:
        runs = getattr(import_module(module), name)()
    except Exception as error:  # noqa: BLE001  whatever a plugin raises
        return f"{target} cannot be asked ({type(error).__name__}: {error})"
    if isinstance(runs, str):
        return runs
    return None if runs else f"{target} says it cannot run here"


def _listing(verdicts: Sequence[Verdict]) -> str:
    return "; ".join(f"{verdict.entry.spec.name} {verdict.reason}" for verdict in verdicts)
