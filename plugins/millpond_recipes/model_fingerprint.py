"""The fingerprint of a loaded model: a hash of everything that its results depend on beside their sequences."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from millpond.loading.build import LoadedModel
from millpond.loading.components import used_entries
from millpond.plugin.blame import is_foreign
from millpond.plugin.registry import Entry
from millpond_checkpoints.file_hashes import checkpoint_hash, file_hashes

COMPUTING_PACKAGES = ("millpond", "numpy", "tokenizers", "torch", "transformers", "triton")
INSTRUCTION_SETS = (
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
)
OLD_CHECKS = {
    "avx512_vnni": "_is_vnni_supported",
    "avx512_bf16": "_is_avx512_bf16_supported",
    "amx_bf16": "_is_amx_tile_supported",
}
# Environment variables that limit the instruction sets of kernels; torch's own limit is part of its capability.
CPU_VARIABLES = ("MILLPOND_CPU_LEVEL", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


def fingerprint_of(loaded: LoadedModel, devices: Iterable[str] = ()) -> str:
    """Return a SHA-256 in hexadecimal; models with the same one compute the same results, up to rounding.

    Every file of the model is read completely: two checkpoints may differ in a few bytes of a large file only, such as
    those of a classifier that was trained for one of them.

    Args:
        loaded: The model.
        devices: The devices of its engine processes, if the caller chose them.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    layers, model, ctx = loaded.layers, loaded.context.model, loaded.context
    facts = {
        "files": dict(file_hashes(layers.repository.path)),
        "model": model.digest,
        "architecture": layers.architecture.qualified,
        "dtype": model.dtype,
        "quantization": ctx.compute.quantization,
        "batch_invariant": ctx.compute.batch_invariant,
        "variants": dict(ctx.compute.kernels),
        "components": sorted({f"{it.spec.kind} {it.qualified}" for it in used_entries(loaded)}),
        "devices": sorted({device_name(ctx.device), *(device_name(torch.device(name)) for name in devices)}),
        "versions": dict(versions()),
        "plugins": {it.label: source_hash(it) for it in used_entries(loaded) if is_foreign(it)},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()


def device_name(device: torch.device) -> str:
    """Return the instruction sets of the processor, or the names of all GPUs: their results differ by rounding.

    Several engine processes may use all GPUs.
    """
    if device.type == "cuda":
        names = sorted({torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())})
        return f"cuda:{','.join(names)}:{torch.get_float32_matmul_precision()}"
    return ":".join([device.type, torch.backends.cpu.get_cpu_capability(), *_instruction_sets(), *_cpu_settings()])


def _instruction_sets() -> list[str]:
    """Return the instruction sets of the processor that add integers or half-precision numbers differently."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # torch before 2.11
        return [name for name, check in OLD_CHECKS.items() if bool(getattr(torch.cpu, check, bool)())]
    flags = capabilities()
    return [name for name in INSTRUCTION_SETS if flags.get(name)]


def _cpu_settings() -> list[str]:
    return [f"{name}={os.environ[name]}" for name in CPU_VARIABLES if os.environ.get(name)]


def versions() -> Iterator[tuple[str, str]]:
    """Yield the name and the version of each package that computes results; "none" if it is not installed."""
    for name in COMPUTING_PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "none"


def source_hash(entry: Entry[Any]) -> str:
    """Return a hash of the Python files of a component's package: it may be edited without a new version."""
    target = entry.spec.target
    module = target.partition(":")[0] if isinstance(target, str) else getattr(target, "__module__", "")
    spec = find_spec(module.partition(".")[0]) if module else None
    if spec is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    if not folders and spec.origin is not None and Path(spec.origin).is_file():
        files = [Path(spec.origin)]
    return hashlib.sha256("".join(map(checkpoint_hash, files)).encode()).hexdigest()
