"""Export a model to ONNX or OpenVINO, in float32 and int8, with the functions of sentence-transformers.

python export.py onnx SOURCE TARGET avx512_vnni
python export.py openvino SOURCE TARGET CALIBRATION

``contest.py`` runs this script in the environment of the backend. CALIBRATION is a folder with one .jsonl file whose
rows have a "sentence".
"""

import argparse
import json
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

SUFFIX = "int8"  # in file names, for all processors


def export_onnx(source: str, target: str, processor: Any) -> dict[str, Any]:
    """Write model.onnx, and model_int8.onnx with dynamic quantisation.

    Args:
        source: A checkpoint with the files of sentence-transformers.
        target: The folder to write.
        processor: The quantisation config: "avx2", "avx512", "avx512_vnni" or "arm64".
    """
    from sentence_transformers.backend import export_dynamic_quantized_onnx_model  # noqa: PLC0415

    settings = {"export": True, "provider": "CPUExecutionProvider"}
    model = SentenceTransformer(source, backend="onnx", device="cpu", local_files_only=True, model_kwargs=settings)
    model.save_pretrained(target)
    export_dynamic_quantized_onnx_model(model, processor, target, file_suffix=SUFFIX)
    return {"quantisation": f"export_dynamic_quantized_onnx_model, {processor}"}


def export_openvino(source: str, target: str, calibration: str) -> dict[str, Any]:
    """Write openvino_model.xml, and openvino_model_int8.xml with static quantisation.

    Args:
        source: A checkpoint with the files of sentence-transformers.
        target: The folder to write.
        calibration: The folder with the calibration texts.
    """
    # Installed only in the environment of OpenVINO.
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
    """Export a model, and write a note of the quantisation method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=["onnx", "openvino"])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("how", help="the processor, or the folder with the calibration texts")
    arguments = parser.parse_args()
    export = export_onnx if arguments.form == "onnx" else export_openvino
    note = export(arguments.source, arguments.target, arguments.how)
    Path(arguments.target, "export.json").write_text(json.dumps(note), encoding="utf-8")


if __name__ == "__main__":
    main()
