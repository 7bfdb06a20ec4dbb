"""Writes the forms of a model that ONNX Runtime or OpenVINO read, float32 and int8, as sentence-transformers does it.

python export.py onnx SOURCE TARGET avx512_vnni
python export.py openvino SOURCE TARGET CALIBRATION

It is run in the environment of that backend, once; ``contest.py`` calls it. CALIBRATION is a folder with one .jsonl
file whose rows have a "sentence".
"""

import argparse
import json
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

SUFFIX = "int8"  # of the files' names, whatever the processor


def export_onnx(source: str, target: str, processor: Any) -> dict[str, Any]:
    """model.onnx, and model_int8.onnx by dynamic quantisation.

    Args:
        source: A checkpoint with the files of sentence-transformers.
        target: The folder to write.
        processor: The configuration of the quantisation: "avx2", "avx512", "avx512_vnni" or "arm64".
    """
    from sentence_transformers.backend import export_dynamic_quantized_onnx_model  # noqa: PLC0415

    settings = {"export": True, "provider": "CPUExecutionProvider"}
    model = SentenceTransformer(source, backend="onnx", device="cpu", local_files_only=True, model_kwargs=settings)
    model.save_pretrained(target)
    export_dynamic_quantized_onnx_model(model, processor, target, file_suffix=SUFFIX)
    return {"quantisation": f"export_dynamic_quantized_onnx_model, {processor}"}


def export_openvino(source: str, target: str, calibration: str) -> dict[str, Any]:
    """openvino_model.xml, and openvino_model_int8.xml by static quantisation.

    Args:
        source: A checkpoint with the files of sentence-transformers.
        target: The folder to write.
        calibration: The folder with the texts that it is calibrated on.
    """
    # In OpenVINO's environment alone.
    from optimum.intel import OVQuantizationConfig  # type: ignore[import-not-found]  # noqa: PLC0415
    from sentence_transformers.backend import export_static_quantized_openvino_model  # noqa: PLC0415

    model = SentenceTransformer(
        source, backend="openvino", device="cpu", local_files_only=True, model_kwargs={"export": True}
    )
    model.save_pretrained(target)
    config = OVQuantizationConfig()
    export_static_quantized_openvino_model(
        model,
        config,
        target,
        dataset_name=calibration,
        dataset_config_name="default",
        dataset_split="train",
        column_name="sentence",
        file_suffix=SUFFIX,
    )
    return {"quantisation": f"export_static_quantized_openvino_model, {config.num_samples} texts"}


def main() -> None:
    """Export, and leave a note of how it was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=["onnx", "openvino"])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("how", help="the processor, or the folder of the texts to calibrate on")
    arguments = parser.parse_args()
    export = export_onnx if arguments.form == "onnx" else export_openvino
    note = export(arguments.source, arguments.target, arguments.how)
    Path(arguments.target, "export.json").write_text(json.dumps(note), encoding="utf-8")


if __name__ == "__main__":
    main()
