"""Small random checkpoints for tests: config.json, weights, a tokenizer, the files of sentence-transformers.

No network, no transformers, and the same bytes at every run. Every parameter is random, biases and norms too: a loader
that drops one of them must not pass because it was 0 or 1 by default.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import models, normalizers, pre_tokenizers, processors
from torch import Tensor

from millpond.testing.biased import BIASED, TOKENS, biased_shapes
from millpond.testing.decoders import DECODERS, decoder_config, decoder_shapes
from millpond.testing.encoder_families import ENCODER_FAMILIES, encoder_family_shapes
from millpond.testing.encoders import JINA, ROTARY_ENCODERS, is_jina, jina_shapes, rotary_encoder_shapes
from millpond.testing.heads import MASKED, SEQUENCE, TOKEN, label_names, with_head
from millpond.types.errors import UnknownNameError

Shape = tuple[int, ...]
Layout = Literal["old", "new"]

WORDS = """
    a an and are as at be bird boat but by cat city cold dark day deep dog door down far fast fish for from go good
    green has have he high hill hot house how i in is it lake light long man mill new night no not of old on one or
    out over pond rain red river road run sea she ship sky slow small snow so stone street sun that the there they
    this to town tree two under up warm was water we what when where wind with woman word you
"""
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = "!\"'(),-.:;?"
SPECIAL = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "decoder": {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"},
}
AROUND = {"bert": ("cls", "sep"), "roberta": ("cls", "sep"), "decoder": ("bos", "eos")}
FAMILY = {
    "BertModel": "bert",
    "ErnieModel": "bert",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "roberta",
    "CamembertModel": "roberta",
    **dict.fromkeys(DECODERS, "decoder"),
}
BACKBONES = {
    f"{name.removesuffix('Model')}{head}": name
    for name in FAMILY
    if name.endswith("Model")
    for head in (SEQUENCE, TOKEN)
} | {
    **{f"{family}{MASKED}": f"{family}Model" for family in ("Bert", "Roberta", "XLMRoberta", "Camembert")},
    "ModernBertForSequenceClassification": "ModernBertModel",
    "ModernBertForTokenClassification": "ModernBertModel",
    **{
        f"{family}{head}": f"{family}Model"
        for family in ("New", "GteNew", "Gte", "NomicBert", "JinaEmbeddingsV3")
        for head in (SEQUENCE, TOKEN)
    },
}
TOKENIZERS = {
    **FAMILY,
    **dict.fromkeys([*ROTARY_ENCODERS, *ENCODER_FAMILIES], "bert"),
    "JinaEmbeddingsV3Model": "roberta",
    **TOKENS,
}
MODEL_TYPE = {
    "BertModel": "bert",
    "ErnieModel": "ernie",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "xlm-roberta",
    "CamembertModel": "camembert",
}
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
        in_features: What it takes.
        out_features: What it gives.
        bias: Whether it has one.
        activation: The dotted name in its config.json.
        pickled: Whether its weights are written as pytorch_model.bin.
    """

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "torch.nn.modules.activation.Tanh"
    pickled: bool = False


def tiny(
    architecture: str,
    path: Path | str,
    *,
    seed: int = 0,
    dtype: str = "float32",
    prefix: str = "",
    shards: int = 1,
    tokenizer: bool = True,
    num_labels: int | None = None,
    **overrides: Any,
) -> Path:
    """Write a small random checkpoint of an architecture: two layers (ModernBERT: four), 32 dimensions, 64 positions.

    ``tiny("XLMRobertaModel", path, position_embedding_type="rotary")`` is one like jina-embeddings-v3, with adapters.

    Args:
        architecture: "BertModel", "ErnieModel", "RobertaModel", "XLMRobertaModel"; or, of Llama, Mistral, Qwen2, Qwen3
            and Gemma, "LlamaModel" or "LlamaForCausalLM"; of any of these "BertForSequenceClassification" or
            "BertForTokenClassification". Or "BertForMaskedLM", and the same of RoBERTa and XLM-RoBERTa. Or
            "ModernBertModel", "NomicBertModel", "GteModel", "GteNewModel", "NewModel", "JinaEmbeddingsV3Model",
            "GPT2Model", "Gemma3TextModel", "LlamaBidirectionalModel", "VoyageQwen3BidirectionalEmbedModel", and of some
            of these a classifier; or one of ``encoder_families.ENCODER_FAMILIES`` or ``biased.BIASED``.
        path: The folder to write; made if it is not there.
        seed: Another seed gives other weights.
        dtype: The name of the dtype of the weights.
        prefix: What stands before the name of every tensor.
        shards: Over how many safetensors files the tensors are spread.
        tokenizer: Whether there is a tokenizer.
        num_labels: The classes of a classifier; None writes nothing of them, which means 2.
        **overrides: Replace fields of config.json; None takes a field out.

    Returns:
        The folder.

    Raises:
        UnknownNameError: If it is none of these architectures.
    """
    backbone = BACKBONES.get(architecture, architecture)
    if backbone not in TOKENIZERS:
        message = (
            f"there is no tiny checkpoint of {architecture!r}; there are: {', '.join([*TOKENIZERS, *BACKBONES])}. "
            "write_config, random_tensors, write_weights and write_tokenizer make one of any architecture"
        )
        raise UnknownNameError(message)
    folder = Path(path)
    full = {**_default_config(backbone, dtype), **(JINA if is_jina(overrides) else {}), **overrides}
    labels = {} if num_labels is None else label_names(num_labels)
    full |= {"architectures": overrides.get("architectures", [architecture]), **labels}
    tensors = _shapes(backbone, full)
    if backbone != architecture:
        tensors = with_head(architecture, full, tensors)
    write_config(folder, {key: value for key, value in full.items() if value is not None})
    shapes = {f"{prefix}{name}": shape for name, shape in tensors.items()}
    write_weights(folder, random_tensors(shapes, seed=seed, dtype=dtype), shards=shards)
    if tokenizer:
        write_tokenizer(folder, TOKENIZERS[backbone])
    return folder


def bert_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """The tensors of a BERT, ERNIE or RoBERTa checkpoint, by their names in transformers, without the pooler."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], size),
        "embeddings.LayerNorm.weight": (size,),
        "embeddings.LayerNorm.bias": (size,),
    }
    if config.get("use_task_id"):
        shapes["embeddings.task_type_embeddings.weight"] = (config["task_type_vocab_size"], size)
    for number in range(config["num_hidden_layers"]):
        maps = {f"attention.self.{name}": (size, size) for name in ("query", "key", "value")}
        maps |= {
            "attention.output.dense": (size, size),
            "intermediate.dense": (inner, size),
            "output.dense": (size, inner),
        }
        for name, shape in maps.items():
            shapes[f"encoder.layer.{number}.{name}.weight"] = shape
            shapes[f"encoder.layer.{number}.{name}.bias"] = shape[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{number}.{name}.weight"] = (size,)
            shapes[f"encoder.layer.{number}.{name}.bias"] = (size,)
    return shapes


def random_tensors(shapes: Mapping[str, Shape], *, seed: int = 0, dtype: str = "float32") -> dict[str, Tensor]:
    """Random values for each name, such that activations keep their size; vectors named ``*.weight`` lie around 1."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values = values if "embeddings" in name else values / shape[-1] ** 0.5
        else:
            values = 0.3 * values + (1.0 if name.endswith("weight") else 0.0)
        tensors[name] = values.to(getattr(torch, dtype))
    return tensors


def write_config(folder: Path | str, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    _write(Path(folder) / "config.json", dict(config))


def write_weights(folder: Path | str, tensors: Mapping[str, Tensor], *, shards: int = 1) -> None:
    """Write model.safetensors, or several shards and the index that names them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {key: tensors[key] for key in list(tensors)[number::shards]}
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    size = sum(tensor.nbytes for tensor in tensors.values())
    _write(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def vocabulary(family: str = "bert") -> dict[str, int]:
    """The hand-made vocabulary of the tiny tokenizer: token to id."""
    pieces = [*SPECIAL[family].values(), *MARKS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *WORDS.split()]
    return {token: number for number, token in enumerate(dict.fromkeys(pieces))}


def write_tokenizer(folder: Path | str, family: str = "bert", *, max_length: int = 64) -> None:
    """Write tokenizer.json and tokenizer_config.json: lower-cased word pieces, special tokens around each text.

    Args:
        folder: Where to.
        family: "bert" ([CLS] text [SEP]), "roberta" or "decoder" (<s> text </s>).
        max_length: ``model_max_length`` of tokenizer_config.json.
    """
    folder = Path(folder)
    special, tokens = SPECIAL[family], vocabulary(family)
    made = tokenizers.Tokenizer(models.WordPiece(tokens, unk_token=special["unk"], max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(special.values()))
    start, end = (special[role] for role in AROUND[family])
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(token, tokens[token]) for token in (start, end)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    names = {f"{role}_token": token for role, token in special.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length, **names}
    _write(folder / "tokenizer_config.json", settings)


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
    """Write modules.json and the files beside it: Transformer, Pooling, Dense modules, Normalize.

    Args:
        folder: The folder of a checkpoint.
        pooling: The pooling mode as sentence-transformers 6 names it, or several.
        normalize: Whether there is a Normalize module.
        dense: The Dense modules, in order.
        layout: "old" as almost the whole hub has it, "new" as sentence-transformers 6 writes it.
        size: The dimensions of the transformer.
        max_seq_length: Written to sentence_bert_config.json if it is not None.
        do_lower_case: Written beside it.
        prompts: Written to config_sentence_transformers.json.
        seed: Another seed gives other Dense weights.
    """
    folder = Path(folder)
    types = OLD_MODULES if layout == "old" else NEW_MODULES
    lines = [("", types["Transformer"]), ("1_Pooling", types["Pooling"])]
    _write(folder / "1_Pooling" / "config.json", _pooling_config(pooling, layout, size))
    for number, layer in enumerate(dense, start=2):
        write_dense(folder / f"{number}_Dense", layer, seed=seed + number)
        lines.append((f"{number}_Dense", types["Dense"]))
    if normalize:
        lines.append((f"{len(lines)}_Normalize", types["Normalize"]))
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(lines)]
    _write(folder / "modules.json", modules)
    if max_seq_length is not None:
        limits = {"max_seq_length": max_seq_length, "do_lower_case": do_lower_case}
        _write(folder / "sentence_bert_config.json", limits)
    settings: dict[str, Any] = {
        "prompts": dict(prompts or {}),
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    if layout == "new":
        settings["model_type"] = "SentenceTransformer"
    _write(folder / "config_sentence_transformers.json", settings)


def write_sparse_encoder(
    folder: Path | str, *, strategy: str = "max", activation: str = "relu", layout: Layout = "new"
) -> None:
    """Write modules.json and the files beside it for a masked language model that is a SparseEncoder.

    Args:
        folder: The folder of a checkpoint, such as that of "BertForMaskedLM".
        strategy: "max" or "sum".
        activation: "relu" or "log1p_relu".
        layout: "old" as most of the hub has it, "new" as sentence-transformers 6 writes it.
    """
    folder = Path(folder)
    types = SPARSE_MODULES[layout]
    lines = [("", types[0]), ("1_SpladePooling", types[1])]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(lines)]
    _write(folder / "modules.json", modules)
    size = "word_embedding_dimension" if layout == "old" else "embedding_dimension"
    pooling = {"pooling_strategy": strategy, "activation_function": activation, size: None}
    _write(folder / "1_SpladePooling" / "config.json", pooling)
    limits: dict[str, Any] = {"max_seq_length": 64, "do_lower_case": False}
    if layout == "new":
        limits = {"transformer_task": "fill-mask", "modality_config": {"text": FILL_MASK}} | NEW_OUTPUT
    _write(folder / "sentence_bert_config.json", limits)
    settings: dict[str, Any] = {
        "model_type": "SparseEncoder",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    }
    _write(folder / "config_sentence_transformers.json", settings)


def write_sparse_code(
    folder: Path | str,
    *,
    features: int = 64,
    active: int = 9,
    standardizes: bool = False,
    normalizes: bool = False,
    size: int = 32,
    seed: int = 1,
) -> None:
    """Put a SparseAutoEncoder behind the modules that modules.json names, and make it a SparseEncoder.

    Args:
        folder: The folder of a checkpoint with files of sentence-transformers.
        features: How many features there are.
        active: How many of them are not 0.
        standardizes: Whether vectors are standardised first.
        normalizes: Whether there is a Normalize module behind it.
        size: The dimensions of what it takes.
        seed: Another seed gives other weights.
    """
    folder = Path(folder)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = ["SparseAutoEncoder", *(["Normalize"] if normalizes else [])]
    for place, kind in enumerate(kinds, start=len(modules)):
        dotted = f"sentence_transformers.sparse_encoder.modules.sparse_auto_encoder.{kind}"
        dotted = NEW_MODULES.get(kind, dotted)
        modules.append({"idx": place, "name": str(place), "path": f"{place}_{kind}", "type": dotted})
    _write(folder / "modules.json", modules)
    own = folder / modules[-len(kinds)]["path"]
    config = {"input_dim": size, "hidden_dim": features, "k": active, "k_aux": active, "normalize": standardizes}
    _write(own / "config.json", config)
    shapes: dict[str, Shape] = {
        "pre_bias": (size,),
        "latent_bias": (features,),
        "decoder.linear.weight": (features, size),
    }
    tensors = random_tensors(shapes, seed=seed) | {"stats_last_nonzero": torch.zeros(features, dtype=torch.long)}
    save_file(tensors, own / "model.safetensors", metadata={"format": "pt"})
    settings: dict[str, Any] = {"model_type": "SparseEncoder", "prompts": {}, "similarity_fn_name": "dot"}
    _write(folder / "config_sentence_transformers.json", settings)


def write_dense(folder: Path | str, layer: DenseLayer, *, seed: int = 1) -> None:
    """Write a Dense module's folder: config.json and random weights."""
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
    _write(folder / "config.json", config)
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


def _default_config(backbone: str, dtype: str) -> dict[str, Any]:
    if TOKENIZERS[backbone] == "decoder":
        return _decoder_config(backbone, dtype)
    own = ROTARY_ENCODERS.get(backbone) or ENCODER_FAMILIES.get(backbone) or BIASED.get(backbone)
    if own is None:
        return _bert_config(backbone, dtype)
    family = TOKENIZERS[backbone]
    tokens = vocabulary(family)
    return {**own, "vocab_size": len(tokens), "pad_token_id": tokens[SPECIAL[family]["pad"]], "dtype": dtype}


def _shapes(backbone: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    if TOKENIZERS[backbone] == "decoder":
        return decoder_shapes(config)
    if backbone in ROTARY_ENCODERS:
        return rotary_encoder_shapes(backbone, config)
    if backbone in ENCODER_FAMILIES:
        return encoder_family_shapes(backbone, config)
    if backbone in BIASED:
        return biased_shapes(backbone, config)
    return jina_shapes(config) if is_jina(config) else bert_shapes(config)


def _bert_config(architecture: str, dtype: str) -> dict[str, Any]:
    family = FAMILY[architecture]
    tokens, special = vocabulary(family), SPECIAL[family]
    task = {"use_task_id": True, "task_type_vocab_size": 3} if architecture == "ErnieModel" else {}
    return {
        **task,
        "architectures": [architecture],
        "model_type": MODEL_TYPE[architecture],
        "vocab_size": len(tokens),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 64 if family == "bert" else 66,
        "type_vocab_size": 2 if family == "bert" else 1,
        "layer_norm_eps": 1e-12 if family == "bert" else 1e-5,
        "position_embedding_type": "absolute",
        "pad_token_id": tokens[special["pad"]],
        "bos_token_id": tokens[special["cls"]],
        "eos_token_id": tokens[special["sep"]],
        "dtype": dtype,
    }


def _decoder_config(architecture: str, dtype: str) -> dict[str, Any]:
    tokens, special = vocabulary("decoder"), SPECIAL["decoder"]
    ids = {f"{role}_token_id": tokens[special[role]] for role in ("pad", "bos", "eos")}
    return {**decoder_config(architecture), "vocab_size": len(tokens), **ids, "dtype": dtype}


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
