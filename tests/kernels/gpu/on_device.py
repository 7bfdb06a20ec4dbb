"""Every kernel that runs on the device of the variable KERNELS_DEVICE, such as cuda, compared with its reference.

pytest does not collect this file: ``benchmarks/gpu_all.py`` runs it on a GPU, and ``test_gpu.py`` tries it on the CPU.
"""

import importlib.util
import os
from pathlib import Path

import torch

from millpond.plugin.manager import PluginManager
from millpond.testing.conformance import KernelConformance

DEVICE = torch.device(os.environ["KERNELS_DEVICE"])


def _built_in():
    """Return the classes of ``test_conformance.py``, with their cases and tolerances."""
    path = Path(__file__).parents[1] / "test_conformance.py"
    spec = importlib.util.spec_from_file_location("built_in_kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [value for value in vars(module).values() if isinstance(value, type) and "name" in vars(value)]


def _runs(kind, kernels):
    """Return True for a kernel whose record has the device: compiled kernels are for CPUs."""
    spec = kernels.get(kind.name).spec
    return issubclass(kind, KernelConformance) and (not spec.devices or DEVICE.type in spec.devices)


_kernels = PluginManager(ranks=("builtin",), disabled=()).registry.kernels
for _kind in _built_in():
    if _runs(_kind, _kernels):
        # A kernel for this device alone finds it by itself, and is skipped with the reason if it cannot run.
        _device = {} if _kernels.get(_kind.name).spec.devices else {"device": str(DEVICE)}
        _suffix = "" if _kind.__name__ != "TestAttentionSdpaPadded" else "_padded"
        _name = f"Test_{_kind.name.replace('.', '__')}{_suffix}"
        globals()[_name] = type(_name, (_kind,), {**_device, "threads": 1})
