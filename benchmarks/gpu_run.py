"""The settings of a section of gpu_all.py, its clock, and the published peak of the device."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from gpu_models import RandomModel

Row = dict[str, Any]
GIB = 2**30
MAX_ERROR_CHARS = 500
# TFLOP/s of dense products in bfloat16, as published by NVIDIA; the first name that the device's contains applies.
PEAK_TFLOPS: Mapping[str, float] = MappingProxyType(
    {
        "B200": 2250.0,
        "H200": 989.0,
        "H100 PCIe": 756.0,
        "H100 NVL": 835.0,
        "H100": 989.0,
        "A100": 312.0,
        "L40S": 362.0,
        "L4": 121.0,
        "A10": 125.0,
        "T4": 65.0,
    }
)


def peak_tflops(device: str) -> float | None:
    """Return the published peak of a device by its name; None if it is not in the table."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in device), None)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The settings of a section.

    Attributes:
        device: The device.
        short: True for tiny models and few repetitions.
        folder: The folder of the checkpoints, and of the trace.
        deadline: The time at which the section should end, by ``time.monotonic``.
    """

    device: torch.device
    short: bool
    folder: Path
    deadline: float

    def checkpoint(self, model: RandomModel, dtype: str = "bfloat16") -> Path:
        """Return the folder of a model's checkpoint."""
        return model.write(self.folder, tiny_size=self.short, dtype=dtype)

    @cached_property
    def peak(self) -> float | None:
        """The published peak of the device in TFLOP/s; None if unknown."""
        return peak_tflops(torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else None

    @property
    def is_over(self) -> bool:
        """True if no time is left."""
        return time.monotonic() > self.deadline

    def rates(self, sequences: Sequence[Any], seconds: float, flops: float) -> Row:
        """Return the rates of a computation.

        Args:
            sequences: The computed sequences.
            seconds: The duration.
            flops: The floating-point operations of one token.
        """
        tokens = sum(map(len, sequences))
        return {
            "tokens_per_second": tokens / seconds,
            "sequences_per_second": len(sequences) / seconds,
            "share_of_peak": None if self.peak is None else tokens * flops / seconds / (self.peak * 1e12),
        }

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], *, repeats: int = 5, calls: int = 1) -> float:
        """Return the median seconds of a call, after one call for warming up."""
        work()
        times: list[float] = []
        for _ in range(1 if self.short else repeats):
            self.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                work()
            self.synchronize()
            times.append((time.perf_counter() - start) / calls)
        return statistics.median(times)

    def peak_memory(self, work: Callable[[], object]) -> float | None:
        """Return the largest memory of tensors on the device while a function runs, in GiB; None on a CPU."""
        if self.device.type != "cuda":
            work()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        return round(torch.cuda.max_memory_allocated(self.device) / GIB, 3)


def attempt(row: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Row:
    """Return a row with its measurement, or with the error: the other rows of a section are measured all the same."""
    try:
        return {**row, **measure()}
    except Exception as error:  # noqa: BLE001  see above
        return {**row, "error": f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # the device may be lost
                torch.cuda.empty_cache()


def attention_variants(run: Run, dtype: str) -> list[str]:
    """Return the variants of attention to compare; "" is the default."""
    from millpond_kernels.gpu import varlen_availability  # noqa: PLC0415  imports torch's CUDA state

    is_varlen = run.device.type == "cuda" and dtype != "float32" and varlen_availability() is True
    return ["", "varlen"] if is_varlen else [""]
