"""The certificate of a comparison: a JSON object with the model's files, the versions, the machine and the results."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from millpond.machine import available_cores
from millpond_command.processor import processor_name
from millpond_recipes.model_fingerprint import device_name
from millpond_verify.agreement import SettingRow, TokenAgreement
from millpond_verify.measures import Measures

FORMAT = 1
PACKAGES = ("millpond", "numpy", "safetensors", "sentence-transformers", "tokenizers", "torch", "transformers")


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """The comparison of a part; ``measures`` is None if the shapes of results differ."""

    name: str
    measures: Measures | None
    problems: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The comparison of a run of Millpond, with a dtype or a quantization."""

    dtype: str
    quantization: str | None
    tolerance: float
    parts: Sequence[PartReport]

    @property
    def name(self) -> str:
        """The quantization, or the dtype."""
        return self.quantization or self.dtype

    @property
    def problems(self) -> list[str]:
        """The differences over the tolerance, in words."""
        return [f"{self.name}, {part.name}: {problem}" for part in self.parts for problem in part.problems]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of ``millpond verify``.

    Attributes:
        model: The name of the model.
        architecture: The name of its architecture and the implementation.
        reference: The library and the class of the reference.
        reference_model: The name of the model that the reference loaded.
        kind: The kind of results.
        inputs: The number, the longest length and the hash of the inputs.
        settings: The settings of both sides.
        tokens: The token ids of both sides; None if they were not compared.
        runs: The runs.
        files: The SHA-256 of each file of the model.
        file_differences: The differences between the files of both models; empty if they are the same model.
        device: The device.
    """

    model: str
    architecture: str
    reference: str
    reference_model: str
    kind: str
    inputs: Mapping[str, Any]
    settings: Sequence[SettingRow]
    tokens: TokenAgreement | None
    runs: Sequence[RunReport]
    files: Mapping[str, str]
    file_differences: Sequence[str]
    device: str

    @property
    def problems(self) -> list[str]:
        """All differences, in words: settings, token ids, then results. Files count only if results differ."""
        stated = [row.problem for row in self.settings] + [None if self.tokens is None else self.tokens.problem]
        problems = [it for it in stated if it is not None] + [it for run in self.runs for it in run.problems]
        return [*self.file_differences, *problems] if problems else []

    @property
    def passed(self) -> bool:
        """True if there is no difference over the tolerance."""
        return not self.problems


def to_certificate(verification: Verification) -> dict[str, Any]:
    """Return the certificate. Only ``created`` differs between two certificates of the same machine."""
    it = verification
    return {
        "certificate": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "passed": it.passed,
        "model": it.model,
        "architecture": it.architecture,
        "reference": {"name": it.reference, "model": it.reference_model},
        "results": it.kind,
        "inputs": dict(it.inputs),
        "problems": it.problems,
        "runs": [_run(run) for run in it.runs],
        "tokens": None if it.tokens is None else asdict(it.tokens),
        "settings": [asdict(row) for row in it.settings],
        "files": dict(it.files),
        "file_differences": list(it.file_differences),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "machine": {
            "processor": processor_name(),
            "cores": available_cores(),
            "device": device_name(torch.device(it.device)),
            "system": platform.system(),
        },
    }


def _run(run: RunReport) -> dict[str, Any]:
    return {
        "dtype": run.dtype,
        "quantization": run.quantization,
        "tolerance": run.tolerance,
        "passed": not run.problems,
        "parts": [
            {
                "name": part.name,
                **({} if part.measures is None else _without_none(asdict(part.measures))),
                "problems": list(part.problems),
            }
            for part in run.parts
        ],
    }


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
