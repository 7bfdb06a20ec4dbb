"""Writers of tiny checkpoints for golden files: architectures, and the files that published models add to them."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import load_file, save_file

from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import (
    DenseLayer,
    random_tensors,
    tiny,
    vocabulary,
    write_config,
    write_dense,
    write_sentence_transformers,
    write_sparse_autoencoder,
    write_sparse_encoder,
    write_tokenizer,
    write_weights,
)
from millpond_formats.transformers.architecture import backbone_names
from millpond_models.testing.nemotron_vl import tiny_nemotron_vl
from millpond_transformers.testing.vision_language import CLASSES, tiny_vision_language, tiny_vision_reranker
from millpond_transformers.testing.vision_retrieval import MODELS, tiny_vision_retrieval

Writer = Callable[[Path], object]
REGISTRY = PluginManager(ranks=("builtin",), disabled=()).registry
SIZE, TOKEN_SIZE = 32, 12
ANSWERS = ("yes", "Yes", "0", "1", "no")
RANDOM = {
    "vocab_size": len(vocabulary()),
    "hidden_size": SIZE,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
OTHER_SIZES: Mapping[str, Mapping[str, Any]] = {
    "T5EncoderModel": {"d_model": SIZE, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "JambaForSequenceClassification": {
        "num_key_value_heads": 2,
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
        "num_labels": 1,
    },
    "AlbertModel": {"embedding_size": 16},
    "ElectraForSequenceClassification": {"embedding_size": 16, "num_labels": 1},
}


def read(path: Path) -> Any:
    """Return the content of a JSON file; an empty object if it is missing."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def change(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file; None removes a field."""
    values = {key: value for key, value in (read(path) | fields).items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def bare(architecture: str, **options: Any) -> Writer:
    """Write a checkpoint of an architecture without other files."""
    return lambda folder: tiny(architecture, folder, **options)


def with_files(write: Writer, **files: Mapping[str, Any]) -> Writer:
    """Write a checkpoint, then change fields of its files, named without ``.json``; "/" is "__"."""

    def write_all(folder: Path) -> None:
        write(folder)
        for name, fields in files.items():
            change(folder / f"{name.replace('__', '/')}.json", **fields)

    return write_all


def with_modules(write: Writer, **options: Any) -> Writer:
    """Write a checkpoint with the files of sentence-transformers."""

    def write_all(folder: Path) -> None:
        write(folder)
        write_sentence_transformers(folder, **options)

    return write_all


def renamed(architecture: str, name: str, alter: Callable[[dict[str, torch.Tensor]], Any] = dict) -> Writer:
    """Write a checkpoint of another architecture under a name, with changed tensors."""

    def write(folder: Path) -> None:
        tiny(architecture, folder)
        write_config(folder, {**read(folder / "config.json"), "architectures": [name]})
        write_weights(folder, alter(load_file(folder / "model.safetensors")))

    return write


def two_linear_layers(labels: int) -> Callable[[dict[str, torch.Tensor]], Any]:
    """Replace the head by that of Qwen2's reward models."""
    shapes = {"score.0.weight": (SIZE, SIZE), "score.0.bias": (SIZE,)}
    head = random_tensors({**shapes, "score.2.weight": (labels, SIZE), "score.2.bias": (labels,)})
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if "score." not in name} | head


def internlm(folder: Path, *, reward: bool = False) -> None:
    """Write InternLM2, whose query, key and value are one matrix."""
    layer = {
        "attention_norm.weight": (SIZE,),
        "attention.wqkv.weight": (64, SIZE),
        "attention.wo.weight": (SIZE, SIZE),
        "ffn_norm.weight": (SIZE,),
        "feed_forward.w1.weight": (48, SIZE),
        "feed_forward.w2.weight": (SIZE, 48),
        "feed_forward.w3.weight": (48, SIZE),
    }
    tokens, prefix = len(vocabulary("decoder")), "model." if reward else ""
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}layers.0.{name}": shape for name, shape in layer.items()}
    shapes |= {f"{prefix}tok_embeddings.weight": (tokens, SIZE), f"{prefix}norm.weight": (SIZE,)}
    if reward:
        shapes["v_head.weight"] = (1, SIZE)
    name = "InternLM2ForRewardModel" if reward else "InternLM2Model"
    sizes = {"vocab_size": tokens, "hidden_size": SIZE, "intermediate_size": 48, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "hidden_act": "silu"}
    norms = {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bias": False, "model_type": "internlm2"}
    write_config(folder, {"architectures": [name], **sizes, **heads, **norms})
    write_weights(folder, random_tensors(shapes))
    write_tokenizer(folder, "decoder")


def static(
    folder: Path, *, architecture: str = "StaticEmbedding", key: str = "embedding.weight", **config: Any
) -> None:
    """Write an embedding table."""
    tokens = len(vocabulary())
    sizes = {"vocab_size": tokens, "hidden_size": SIZE, "seq_length": 64}
    write_config(folder, {"architectures": [architecture], **sizes, **config})
    write_weights(folder, random_tensors({key: (tokens, SIZE)}))
    write_tokenizer(folder)


def model2vec(folder: Path) -> None:
    """Write the files of model2vec."""
    static(folder, architecture="StaticModel", key="embeddings", model_type="model2vec", normalize=True)


def colbert(architecture: str, name: str, **settings: Any) -> Writer:
    """Write an encoder with a projection of its tokens next to its weights."""

    def write(folder: Path) -> None:
        tiny(architecture, folder, architectures=[name], dim=TOKEN_SIZE, **settings)
        tensors = load_file(folder / "model.safetensors")
        write_weights(folder, tensors | random_tensors({"linear.weight": (TOKEN_SIZE, SIZE)}))

    return write


def stanford(**metadata: Any) -> Writer:
    """Write the layout of colbertv2.0: markers that are tokens, and artifact.metadata."""

    def write(folder: Path) -> None:
        tiny("BertModel", folder, prefix="bert.", architectures=["HF_ColBERT"], dim=TOKEN_SIZE)
        tensors = load_file(folder / "model.safetensors")
        write_weights(folder, tensors | random_tensors({"linear.weight": (TOKEN_SIZE, SIZE)}, seed=3))
        path = folder / "tokenizer.json"
        text = path.read_text(encoding="utf-8").replace('"##8"', '"[unused0]"').replace('"##9"', '"[unused1]"')
        path.write_text(text, encoding="utf-8")
        if metadata:
            change(folder / "artifact.metadata", dim=TOKEN_SIZE, **metadata)

    return write


def pylate(architecture: str = "BertModel", *, added: bool = True, limit: int | None = None, **settings: Any) -> Writer:
    """Write the layout of PyLate: the projection in a folder, markers that may be tokens."""

    def write(folder: Path) -> None:
        tiny(architecture, folder, vocab_size=len(vocabulary()) + 2)
        if added:
            add_tokens(folder, ("[Q] ", "[D] "))
        write_dense(folder / "1_Dense", DenseLayer(in_features=SIZE, out_features=TOKEN_SIZE, bias=False))
        change(folder / "1_Dense" / "config.json", activation_function="torch.nn.modules.linear.Identity")
        types = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
        write_module_list(folder, types)
        config = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "prompts": {}}
        config |= {"query_length": 16, "document_length": 40, "similarity_fn_name": "MaxSim"}
        change(folder / "config_sentence_transformers.json", **(config | settings))
        if limit is not None:
            change(folder / "sentence_bert_config.json", max_seq_length=limit, do_lower_case=False)

    return write


def write_module_list(folder: Path, types: Mapping[str, str]) -> None:
    """Write modules.json from the type of each folder."""
    lines = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(types.items())]
    (folder / "modules.json").write_text(json.dumps(lines), encoding="utf-8")


def add_tokens(folder: Path, tokens: Sequence[str]) -> None:
    """Add tokens to the tokenizer."""
    path = str(folder / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(path)
    # Not normalized: "yes" and "Yes" would be equal in lower case, and either could be found.
    tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in tokens])
    tokenizer.save(path)


def static_modules(home: str, *, dense: bool = False) -> Writer:
    """Write a StaticEmbedding of sentence-transformers, in the folder itself or in a subfolder."""

    def write(folder: Path) -> None:
        write_tokenizer(folder / home)
        (folder / home / "tokenizer_config.json").unlink()
        table = random_tensors({"embedding.weight": (len(vocabulary()), SIZE)})
        save_file(table, folder / home / "model.safetensors")
        types = {home: "sentence_transformers.models.StaticEmbedding"}
        if dense:
            write_dense(folder / "1_Dense", DenseLayer(in_features=SIZE, out_features=TOKEN_SIZE))
            types["1_Dense"] = "sentence_transformers.models.Dense"
        write_module_list(folder, {**types, "2_Normalize": "sentence_transformers.models.Normalize"})

    return write


def sparse(architecture: str = "BertForMaskedLM", **options: Any) -> Writer:
    """Write a SparseEncoder for a masked language model."""

    def write(folder: Path) -> None:
        tiny(architecture, folder)
        write_sparse_encoder(folder, **options)

    return write


def autoencoder(pooling: str = "mean", **options: Any) -> Writer:
    """Write an embedding model with a SparseAutoEncoder after pooling."""

    def write(folder: Path) -> None:
        tiny("BertModel", folder)
        write_sentence_transformers(folder, pooling=pooling, normalize=False)
        write_sparse_autoencoder(folder, **options)

    return write


def peft_adapters(folder: Path) -> None:
    """Write jina-embeddings-v3 in transformers' layout, with PEFT adapters in folders next to the weights."""
    tiny("JinaEmbeddingsV3Model", folder)
    weights = load_file(folder / "model.safetensors")
    for seed, name in enumerate(("retrieval_query", "separation"), start=1):
        shapes = {}
        for weight, tensor in weights.items():
            if tensor.ndim == 2:
                stem, (rows, columns) = f"base_model.model.{weight.removesuffix('.weight')}", tensor.shape
                if "embeddings" in weight:
                    shapes |= {f"{stem}.lora_embedding_A": (4, rows), f"{stem}.lora_embedding_B": (columns, 4)}
                else:
                    shapes |= {f"{stem}.lora_A.weight": (4, columns), f"{stem}.lora_B.weight": (rows, 4)}
        settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 1, "bias": "none", "use_dora": False}
        change(folder / name / "adapter_config.json", **settings, rank_pattern={})
        save_file(random_tensors(shapes, seed=seed), folder / name / "adapter_model.safetensors")


def reranker(architecture: str, *, template: str | None = None) -> Writer:
    """Write a language model whose tokenizer has the tokens that rerankers answer with."""

    def write(folder: Path) -> None:
        tokens = len(vocabulary("decoder")) + len(ANSWERS)
        tiny(architecture, folder, vocab_size=tokens, max_position_embeddings=1024)
        write_tokenizer(folder, "decoder", max_length=1024)
        add_tokens(folder, ANSWERS)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")

    return write


def routes(folder: Path) -> None:
    """Write a Router of sentence-transformers with a Dense module per route, saved by the library."""
    library = importlib.import_module("sentence_transformers")
    modules = library.sentence_transformer.modules
    router = library.base.modules.router.Router
    source = tiny("BertModel", folder.parent / "transformer of routes")
    chains = {}
    for seed, name in enumerate(("query", "document"), start=1):
        dense = modules.Dense(SIZE, TOKEN_SIZE)
        dense.load_state_dict(random_tensors({"linear.weight": (TOKEN_SIZE, SIZE), "linear.bias": (12,)}, seed=seed))
        chains[name] = [dense]
    chain = [
        modules.Transformer(str(source)),
        modules.Pooling(SIZE),
        router(chains, default_route="document"),
        modules.Normalize(),
    ]
    model = library.SentenceTransformer(modules=chain, device="cpu", prompts={"query": "find: "})
    model.save(str(folder), create_model_card=False)


def of_transformers(name: str) -> Writer:
    """Write a random model of a class of transformers that has no native implementation."""

    def write(folder: Path) -> None:
        library = importlib.import_module("transformers")
        kind = getattr(library, name)
        config = kind.config_class(**{**RANDOM, **OTHER_SIZES.get(name, {})})
        model = kind(config).eval().requires_grad_(requires_grad=False)
        shapes = {key: tuple(value.shape) for key, value in model.named_parameters()}
        model.load_state_dict(random_tensors(shapes), strict=False)
        library.logging.disable_progress_bar()
        model.save_pretrained(folder)
        write_tokenizer(folder)

    return write


OWN_WRITERS: dict[str, Writer] = {
    "BertSpladeSparseEmbeddingModel": renamed("BertForMaskedLM", "BertSpladeSparseEmbeddingModel"),
    "ColBERTJinaRobertaModel": colbert("XLMRobertaModel", "ColBERTJinaRobertaModel", position_embedding_type="rotary"),
    "ColBERTLfm2Model": colbert("Lfm2Model", "ColBERTLfm2Model"),
    "ColBERTModernBertModel": colbert("ModernBertModel", "ColBERTModernBertModel"),
    "HF_ColBERT": stanford(),
    "InternLM2ForRewardModel": lambda folder: internlm(folder, reward=True),
    "InternLM2Model": internlm,
    "Qwen2ForProcessRewardModel": renamed(
        "Qwen2ForSequenceClassification", "Qwen2ForProcessRewardModel", two_linear_layers(2)
    ),
    "Qwen2ForRewardModel": renamed("Qwen2ForSequenceClassification", "Qwen2ForRewardModel", two_linear_layers(1)),
    "StaticEmbedding": static,
    "StaticModel": model2vec,
    **{name: of_transformers(name) for name in ("AlbertModel", *OTHER_SIZES)},
    **{name: lambda folder, kind=kind: tiny_vision_language(kind, folder) for kind, name in CLASSES.items()},
    **{name: lambda folder, name=name: tiny_vision_retrieval(name, folder) for name in MODELS},
}


OF_PUBLISHED: dict[str, Writer] = {
    "Qwen/Qwen3-VL-Reranker*": tiny_vision_reranker,
    "EuroBERT/EuroBERT-210m": renamed("EuroBertModel", "EuroBertForMaskedLM"),
    "nvidia/llama-nemotron-rerank-vl-*": lambda folder: tiny_nemotron_vl(folder, num_labels=1),
    "jinaai/jina-colbert-v2": colbert("XLMRobertaModel", "HF_ColBERT", position_embedding_type="rotary"),
    **{
        f"jinaai/jina-embeddings-v2-{name}": renamed("JinaBertModel", "JinaBertForMaskedLM")
        for name in ("base-code", "base-en", "small-en")
    },
}


def writer_of(architecture: str) -> Writer:
    """Return the writer of a checkpoint of an architecture."""
    if architecture in OWN_WRITERS:
        return OWN_WRITERS[architecture]
    known = {entry.spec.name for entry in REGISTRY.architectures.entries()}
    if not known.isdisjoint((architecture, *backbone_names(architecture))):
        return bare(architecture)
    return of_transformers(architecture)
