"""Registers the built-in checkpoint formats and the modules of sentence-transformers."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CheckpointFormatSpec, ModuleSpec
from millpond_checkpoints.kinds import SpaceSpec

SETTINGS = "config_sentence_transformers.json"
LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
MODULES = "millpond_formats.sentence_transformers"


@hookimpl
def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
    """Register formats: those that describe a whole model have a higher priority than those of single parts."""
    yield CheckpointFormatSpec(
        name="transformers",
        target="millpond_formats.transformers.config:read_config",
        summary="transformers: config.json and the tokenizer's files",
        reads_config=True,
        reader="millpond_formats.transformers.reader:TransformersReader",
    )
    yield CheckpointFormatSpec(
        name="sentence_transformers",
        target=f"{MODULES}.format:read_sentence_transformers",
        summary="sentence-transformers: modules.json and its settings files",
        files=("modules.json", SETTINGS, *LENGTH_FILES),
        priority=50,
    )
    yield CheckpointFormatSpec(
        name="pylate",
        target="millpond_formats.pylate:read_pylate",
        summary="PyLate: ColBERT models in the files of sentence-transformers",
        files=(SETTINGS,),
        priority=40,
    )
    yield CheckpointFormatSpec(
        name="stanford_colbert",
        target="millpond_formats.stanford_colbert:read_stanford_colbert",
        summary="Stanford's ColBERT: artifact.metadata",
        files=("artifact.metadata",),
        priority=30,
    )
    yield CheckpointFormatSpec(
        name="model2vec",
        target="millpond_formats.model2vec:read_model2vec",
        summary="model2vec: static token embeddings",
        files=("config.json",),
        priority=20,
    )
    yield CheckpointFormatSpec(
        name="peft",
        target="millpond_formats.peft:read_peft",
        summary="PEFT: LoRA adapters in subfolders",
        files=("*/adapter_config.json", "*/*/adapter_config.json"),
        priority=10,
    )


@hookimpl
def register_modules() -> Iterator[ModuleSpec]:
    """Register the modules of sentence-transformers."""
    yield ModuleSpec(
        name="Dense",
        target=f"{MODULES}.dense:load_dense",
        summary="a linear layer and an activation",
        places=("before", "after"),
    )
    yield ModuleSpec(
        name="LayerNorm", target=f"{MODULES}.layer_norm:load_layer_norm", summary="layer normalization of vectors"
    )
    yield ModuleSpec(
        name="Normalize", target=f"{MODULES}.normalize:load_normalize", summary="vectors divided by their length"
    )
    yield ModuleSpec(
        name="SparseAutoEncoder",
        target=f"{MODULES}.sparse_auto_encoder:load_sparse_auto_encoder",
        summary="a sparse vector of features for each dense vector (Wen et al., 2025)",
        size=f"{MODULES}.sizes:size_after_sparse_autoencoder",
        sparse=True,
    )
    yield ModuleSpec(
        name="WeightedLayerPooling",
        target=f"{MODULES}.layer_pooling:load_weighted_layer_pooling",
        summary="a weighted mean of the layers of a model",
        places=("before",),
    )
    yield ModuleSpec(
        name="CNN",
        target=f"{MODULES}.cnn:load_cnn",
        summary="convolutions of token vectors",
        places=("before",),
        size=f"{MODULES}.sizes:size_after_cnn",
    )
    yield ModuleSpec(
        name="SparseStaticEmbedding",
        target=f"{MODULES}.static_query_weights:load_static_query_weights",
        summary="one weight per token, which embeds queries without a model",
        places=(),
    )


@hookimpl
def register_spaces() -> Iterator[SpaceSpec]:
    """Register the space of embeddings, which the files of these formats decide."""
    yield SpaceSpec(
        name="default",
        target="millpond_checkpoints.space:space_of",
        summary="the files and settings that decide the numbers of embeddings",
    )
