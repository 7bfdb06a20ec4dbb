"""The report of ``millpond env``: versions, the processor, and the kernels that this installation uses."""

import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import torch

import millpond
from millpond.machine import available_cores
from millpond.plugin.kernels import OpContext, rank_kernels
from millpond.plugin.registry import Registry
from millpond_command.processor import processor_name

PACKAGES = ("transformers", "tokenizers", "safetensors", "numpy", "triton")


def environment_record(registry: Registry) -> dict[str, Any]:
    """Return the facts about this installation that determine results and speed.

    ``kernels`` contains the selected kernel of each op on the CPU in float32; ``unavailable`` the kernels with a higher
    priority that cannot run here, with the reason.
    """
    kernels, unavailable = _kernels(registry)
    return {
        "millpond": millpond.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": available_cores(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        # The metadata of a wheel from PyPI does not contain the build of torch, such as +cu130.
        "packages": {"torch": str(torch.__version__), **_versions(PACKAGES)},
        "kernels": kernels,
        "unavailable": unavailable,
    }


def _versions(packages: Iterable[str]) -> dict[str, str | None]:
    installed = {name: _version(name) for name in packages}
    return {name: version for name, version in installed.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _kernels(registry: Registry) -> tuple[dict[str, str], dict[str, str]]:
    """Return the selected kernel of each op, and the reasons for kernels with higher priorities."""
    context = OpContext(device=torch.device("cpu"), dtype=torch.float32)
    kernels: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    for op in sorted({entry.spec.op for entry in registry.kernels.entries()}):
        matches = rank_kernels(registry, op, context)
        selected = next((match.entry.spec for match in matches if match.fits), None)
        if selected is None:
            continue
        kernels[op] = selected.name
        unavailable |= {
            match.entry.spec.name: match.reason
            for match in matches
            if match.entry.spec.priority > selected.priority
            and match.entry.spec.quantization is None
            and (not match.entry.spec.devices or "cpu" in match.entry.spec.devices)
        }
    return kernels, unavailable
