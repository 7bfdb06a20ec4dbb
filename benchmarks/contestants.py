"""The contestants: configurations of Millpond, the backends of sentence-transformers, and infinity's server."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# On processors with these instructions, OpenVINO computes in bfloat16 unless float32 is requested.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
INT8_ONNX = "dynamic, with export_dynamic_quantized_onnx_model of sentence-transformers"
INT8_OPENVINO = (
    "static, with export_static_quantized_openvino_model of sentence-transformers, calibrated on prose of another seed"
)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to embed texts.

    Attributes:
        name: Its name on the command line and in JSON files.
        label: Its name in tables and charts.
        engine: The engine of its worker: "millpond", "sentence-transformers", "transformers"; "infinity" for a server.
        environment: The file in peers/ with the pins of its environment; None for the environment of the benchmark.
        form: The format of the model: "checkpoint", "onnx" or "openvino".
        options: Arguments for loading, in addition to the model.
        quantised: The quantisation method; empty for floating point.
    """

    name: str
    label: str
    engine: str
    environment: str | None = None
    form: str = "checkpoint"
    options: Mapping[str, Any] = field(default_factory=dict)
    quantised: str = ""

    @property
    def short_label(self) -> str:
        """The label for columns of peers: only the backend."""
        return self.label.removeprefix("sentence-transformers").strip() or "torch"

    def with_options(self, options: Mapping[str, Any]) -> "Contestant":
        """Return a copy with additional options."""
        return replace(self, options={**self.options, **options})

    @property
    def is_ours(self) -> bool:
        """True for configurations of Millpond."""
        return self.engine == "millpond"


def _peer(name: str, label: str, *, environment: str, quantised: str = "", **options: Any) -> Contestant:
    return Contestant(
        name=name,
        label=label,
        engine="sentence-transformers",
        environment=environment,
        form="checkpoint" if environment == "torch" else environment,
        options=options,
        quantised=quantised,
    )


OFFLINE = (
    Contestant(name="millpond", label="Millpond", engine="millpond"),
    Contestant(
        name="millpond-deterministic",
        label="Millpond batch-invariant",
        engine="millpond",
        options={"batch_invariant": True},
    ),
    Contestant(
        name="millpond-bfloat16",
        label="Millpond bfloat16",
        engine="millpond",
        options={"dtype": "bfloat16"},
    ),
    Contestant(
        name="millpond-int8",
        label="Millpond int8",
        engine="millpond",
        options={"quantization": "int8"},
        quantised="weights per channel, activations per token, with LLM(quantization='int8')",
    ),
    _peer("st-torch", "sentence-transformers", environment="torch"),
    _peer("st-onnx", "sentence-transformers ONNX", environment="onnx", backend="onnx", file_name="model.onnx"),
    _peer(
        "st-onnx-int8",
        "sentence-transformers ONNX int8",
        environment="onnx",
        backend="onnx",
        file_name="model_int8.onnx",
        quantised=INT8_ONNX,
    ),
    _peer(
        "st-openvino",
        "sentence-transformers OpenVINO",
        environment="openvino",
        backend="openvino",
        file_name="openvino_model.xml",
    ),
    _peer(
        "st-openvino-float32",
        "sentence-transformers OpenVINO, float32 forced",
        environment="openvino",
        backend="openvino",
        file_name="openvino_model.xml",
        ov_config={"INFERENCE_PRECISION_HINT": "f32"},
    ),
    _peer(
        "st-openvino-int8",
        "sentence-transformers OpenVINO int8",
        environment="openvino",
        backend="openvino",
        file_name="openvino_model_int8.xml",
        quantised=INT8_OPENVINO,
    ),
)
INFINITY = Contestant(name="infinity", label="infinity", engine="infinity", environment="infinity")
TRANSFORMERS = Contestant(name="transformers", label="transformers", engine="transformers", environment="torch")
TRANSFORMERS_BFLOAT16 = replace(
    TRANSFORMERS, name="transformers-bfloat16", label="transformers bfloat16", options={"dtype": "bfloat16"}
)
SERVERS = ("millpond", "millpond-int8", "infinity")  # the others embed offline
OTHERS = (INFINITY, TRANSFORMERS, TRANSFORMERS_BFLOAT16)
BY_NAME: Mapping[str, Contestant] = {contestant.name: contestant for contestant in (*OFFLINE, *OTHERS)}
ONLY_IN_FULL_RUNS = frozenset({"millpond-deterministic", "st-onnx", "st-onnx-int8"})
ONLY_WITH_BFLOAT16 = frozenset({"millpond-bfloat16", "st-openvino-float32"})  # elsewhere OpenVINO's default is float32
REFERENCE = "st-torch"  # its vectors are the reference for the others


def default_names(flags: frozenset[str]) -> tuple[str, ...]:
    """Return all contestants that embed offline; those for bfloat16 only on processors that compute in it.

    Args:
        flags: The processor's flags in /proc/cpuinfo.
    """
    names = (contestant.name for contestant in OFFLINE)
    return tuple(name for name in names if name not in ONLY_WITH_BFLOAT16 or flags & BFLOAT16_FLAGS)


def brief_names(flags: frozenset[str]) -> tuple[str, ...]:
    """Return the contestants of a short run: the fastest peers, and the most common one.

    Args:
        flags: The processor's flags in /proc/cpuinfo.
    """
    return tuple(name for name in default_names(flags) if name not in ONLY_IN_FULL_RUNS)


def find_contestants(names: tuple[str, ...]) -> list[Contestant]:
    """Return contestants by name.

    Raises:
        SystemExit: If a name is unknown.
    """
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise SystemExit(f"Unknown contestant {', '.join(unknown)}. Available: {', '.join(BY_NAME)}.")
    return [BY_NAME[name] for name in names]


def lock_file(environment: str) -> Path:
    """Return the file with the pins of a peer's environment."""
    return Path(__file__).parent / "peers" / f"{environment}.txt"
