"""Writes the files of sentence-transformers for tiny checkpoints: modules, pooling, Dense layers, sparse encoders."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from millpond.testing.files import Shape, random_tensors, write_json

Layout = Literal["old", "new"]

OLD_MODULES = {
    name: f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Dense", "Normalize")
}
NEW_MODULES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
FILL_MASK = {"method": "forward", "method_output_name": "logits"}
NEW_OUTPUT = {"module_output_name": "token_embeddings"}
SPARSE_MODULES = {
    "old": (
        "sentence_transformers.sparse_encoder.models.MLMTransformer",
        "sentence_transformers.sparse_encoder.models.SpladePooling",
    ),
    "new": (
        NEW_MODULES["Transformer"],
        "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling",
    ),
}
OLD_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """A Dense module of sentence-transformers, with random weights.

    Attributes:
        in_features: The input size.
        out_features: The output size.
        bias: True if it has a bias.
        activation: The dotted name of the activation in its config.json.
        pickled: True to write the weights as pytorch_model.bin.
    """

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "torch.nn.modules.activation.Tanh"
    pickled: bool = False


def write_sentence_transformers(
    folder: Path | str,
    *,
    pooling: str | Sequence[str] = "mean",
    normalize: bool = True,
    dense: Iterable[DenseLayer] = (),
    layout: Layout = "new",
    size: int = 32,
    max_seq_length: int | None = None,
    do_lower_case: bool = False,
    prompts: Mapping[str, str] | None = None,
    seed: int = 1,
) -> None:
    """Write modules.json, the settings files, and the modules Transformer, Pooling, Dense and Normalize.

    Args:
        folder: The folder of a checkpoint.
        pooling: The pooling mode in sentence-transformers 6, or several modes.
        normalize: True to add a Normalize module.
        dense: The Dense modules, in order.
        layout: "old" for the layout of most models on the hub, "new" for that of sentence-transformers 6.
        size: The hidden size of the transformer.
        max_seq_length: Written to sentence_bert_config.json if it is not None.
        do_lower_case: Written to the same file.
        prompts: Written to config_sentence_transformers.json.
        seed: The random seed of the Dense weights.
    """
    folder = Path(folder)
    types = OLD_MODULES if layout == "old" else NEW_MODULES
    lines = [("", types["Transformer"]), ("1_Pooling", types["Pooling"])]
    write_json(folder / "1_Pooling" / "config.json", _pooling_config(pooling, layout, size))
    for number, layer in enumerate(dense, start=2):
        write_dense(folder / f"{number}_Dense", layer, seed=seed + number)
        lines.append((f"{number}_Dense", types["Dense"]))
    if normalize:
        lines.append((f"{len(lines)}_Normalize", types["Normalize"]))
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(lines)]
    write_json(folder / "modules.json", modules)
    if max_seq_length is not None:
        limits = {"max_seq_length": max_seq_length, "do_lower_case": do_lower_case}
        write_json(folder / "sentence_bert_config.json", limits)
    settings: dict[str, Any] = {
        "prompts": dict(prompts or {}),
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    if layout == "new":
        settings["model_type"] = "SentenceTransformer"
    write_json(folder / "config_sentence_transformers.json", settings)


def write_sparse_encoder(
    folder: Path | str, *, strategy: str = "max", activation: str = "relu", layout: Layout = "new"
) -> None:
    """Write the files of a SparseEncoder for a masked language model.

    Args:
        folder: The folder of a checkpoint, such as one of "BertForMaskedLM".
        strategy: "max" or "sum".
        activation: "relu" or "log1p_relu".
        layout: "old" for the layout of most models on the hub, "new" for that of sentence-transformers 6.
    """
    folder = Path(folder)
    types = SPARSE_MODULES[layout]
    lines = [("", types[0]), ("1_SpladePooling", types[1])]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(lines)]
    write_json(folder / "modules.json", modules)
    size = "word_embedding_dimension" if layout == "old" else "embedding_dimension"
    pooling = {"pooling_strategy": strategy, "activation_function": activation, size: None}
    write_json(folder / "1_SpladePooling" / "config.json", pooling)
    limits: dict[str, Any] = {"max_seq_length": 64, "do_lower_case": False}
    if layout == "new":
        limits = {"transformer_task": "fill-mask", "modality_config": {"text": FILL_MASK}} | NEW_OUTPUT
    write_json(folder / "sentence_bert_config.json", limits)
    settings: dict[str, Any] = {
        "model_type": "SparseEncoder",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    }
    write_json(folder / "config_sentence_transformers.json", settings)


def write_sparse_autoencoder(
    folder: Path | str,
    *,
    features: int = 64,
    active: int = 9,
    standardizes: bool = False,
    normalizes: bool = False,
    size: int = 32,
    seed: int = 1,
) -> None:
    """Append a SparseAutoEncoder to the modules of a checkpoint, which becomes a SparseEncoder.

    Args:
        folder: The folder of a checkpoint with files of sentence-transformers.
        features: The number of features.
        active: The number of nonzero features.
        standardizes: True if vectors are standardized first.
        normalizes: True to append a Normalize module.
        size: The input size.
        seed: The random seed of the weights.
    """
    folder = Path(folder)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = ["SparseAutoEncoder", *(["Normalize"] if normalizes else [])]
    for index, kind in enumerate(kinds, start=len(modules)):
        dotted = f"sentence_transformers.sparse_encoder.modules.sparse_auto_encoder.{kind}"
        dotted = NEW_MODULES.get(kind, dotted)
        modules.append({"idx": index, "name": str(index), "path": f"{index}_{kind}", "type": dotted})
    write_json(folder / "modules.json", modules)
    module_folder = folder / modules[-len(kinds)]["path"]
    config = {"input_dim": size, "hidden_dim": features, "k": active, "k_aux": active, "normalize": standardizes}
    write_json(module_folder / "config.json", config)
    shapes: dict[str, Shape] = {
        "pre_bias": (size,),
        "latent_bias": (features,),
        "decoder.linear.weight": (features, size),
    }
    tensors = random_tensors(shapes, seed=seed) | {"stats_last_nonzero": torch.zeros(features, dtype=torch.long)}
    save_file(tensors, module_folder / "model.safetensors", metadata={"format": "pt"})
    settings: dict[str, Any] = {"model_type": "SparseEncoder", "prompts": {}, "similarity_fn_name": "dot"}
    write_json(folder / "config_sentence_transformers.json", settings)


def write_dense(folder: Path | str, layer: DenseLayer, *, seed: int = 1) -> None:
    """Write the folder of a Dense module: config.json and random weights."""
    folder = Path(folder)
    shapes: dict[str, Shape] = {"linear.weight": (layer.out_features, layer.in_features)}
    if layer.bias:
        shapes["linear.bias"] = (layer.out_features,)
    config = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "bias": layer.bias,
        "activation_function": layer.activation,
    }
    write_json(folder / "config.json", config)
    tensors = random_tensors(shapes, seed=seed)
    if layer.pickled:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _pooling_config(pooling: str | Sequence[str], layout: Layout, size: int) -> dict[str, Any]:
    modes = [pooling] if isinstance(pooling, str) else list(pooling)
    if layout == "old":
        flags = {flag: mode in modes for mode, flag in OLD_FLAGS.items()}
        return {"word_embedding_dimension": size, **flags, "include_prompt": True}
    return {"embedding_dimension": size, "pooling_mode": pooling, "include_prompt": True}
