"""Who is compared: Millpond in its forms, sentence-transformers on each of its backends, and another server."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# On a processor that multiplies bfloat16, OpenVINO computes in it where nobody asks for float32.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
INT8_ONNX = "dynamic, by its own export_dynamic_quantized_onnx_model"
INT8_OPENVINO = "static, by its own export_static_quantized_openvino_model, calibrated on prose of another seed"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to embed texts.

    Attributes:
        name: What it is called on the command line and in JSON files.
        label: What it is called in tables and charts.
        engine: What a worker calls it: "millpond", "sentence-transformers", "transformers"; "infinity" is a server's.
        environment: The file in peers/ that its environment is made from; None for the benchmark's own.
        form: The form of the model that it reads: "checkpoint", "onnx" or "openvino".
        options: What it is loaded with, beside the model.
        quantised: How its int8 weights came about; empty where there are none.
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
        """The label where it is plain that a peer is meant: its backend."""
        return self.label.removeprefix("sentence-transformers").strip() or "torch"

    def given(self, options: Mapping[str, Any]) -> "Contestant":
        """The same, loaded with more options."""
        return replace(self, options={**self.options, **options})

    @property
    def is_ours(self) -> bool:
        """Whether it is Millpond."""
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


ALL = (
    Contestant(name="millpond", label="Millpond", engine="millpond"),
    Contestant(
        name="millpond-deterministic",
        label="Millpond deterministic",
        engine="millpond",
        options={"batch_invariant": True},
    ),
    Contestant(
        name="millpond-int8",
        label="Millpond int8",
        engine="millpond",
        options={"quantization": "int8"},
        quantised="weights a channel, activations a token, by LLM(quantization='int8')",
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
SERVERS = ("millpond", "millpond-int8", "infinity")  # who serves; the others embed offline
BY_NAME: Mapping[str, Contestant] = {contestant.name: contestant for contestant in (*ALL, INFINITY, TRANSFORMERS)}
LEFT_TO_FULL_RUNS = frozenset({"millpond-deterministic", "st-onnx", "st-onnx-int8"})
REFERENCE = "st-torch"  # whose vectors the others' are compared with


def default_names(flags: frozenset[str]) -> tuple[str, ...]:
    """All that embed offline; where OpenVINO computes in float32 anyway, it is not measured twice.

    Args:
        flags: What the processor can do, as /proc/cpuinfo names it.
    """
    names = (contestant.name for contestant in ALL)
    return tuple(name for name in names if name != "st-openvino-float32" or flags & BFLOAT16_FLAGS)


def brief_names(flags: frozenset[str]) -> tuple[str, ...]:
    """Who a short run compares: the fastest peers, and the one that most people use.

    Args:
        flags: What the processor can do, as /proc/cpuinfo names it.
    """
    return tuple(name for name in default_names(flags) if name not in LEFT_TO_FULL_RUNS)


def chosen(names: tuple[str, ...]) -> list[Contestant]:
    """Contestants by their names.

    Raises:
        SystemExit: If there is none of such a name.
    """
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise SystemExit(f"there is no contestant {', '.join(unknown)}; there are: {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in names]


def lock_file(environment: str) -> Path:
    """The pins of a peer's environment."""
    return Path(__file__).parent / "peers" / f"{environment}.txt"
