"""Folders that sentence-transformers saved with routers, static embeddings and other modules pass the comparison."""

from importlib import import_module

import pytest
import torch
from tokenizers import Tokenizer

from millpond.testing.checkpoints import tiny, vocabulary, write_tokenizer

SIZE = 32


def modules_of(kind):
    """Return the module classes of a kind of model; the import takes seconds."""
    return import_module(f"sentence_transformers.{kind}.modules")


def randomized(module, seed):
    """Set all parameters to random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def transformer(folder, **settings):
    return modules_of("base").Transformer(str(tiny("BertModel", folder / "part")), **settings)


def static(folder):
    write_tokenizer(folder / "static", "roberta")  # its ids differ from those of the transformer
    tokenizer = Tokenizer.from_file(str(folder / "static" / "tokenizer.json"))
    return randomized(modules_of("sentence_transformer").StaticEmbedding(tokenizer, embedding_dim=SIZE), 3)


def save(folder, modules, kind="SentenceTransformer", **settings):
    library = import_module("sentence_transformers")
    getattr(library, kind)(modules=modules, device="cpu", **settings).save_pretrained(str(folder / "model"))


def write_static(folder):
    save(folder, [static(folder), modules_of("sentence_transformer").Normalize()])


def write_routed_dense(folder):
    kinds = modules_of("sentence_transformer")
    routes = {name: [randomized(kinds.Dense(SIZE, 12), seed)] for seed, name in enumerate(("query", "document"), 1)}
    router = modules_of("base").Router(routes, default_route="document")
    parts = [transformer(folder), kinds.Pooling(SIZE), router, kinds.Normalize()]
    save(folder, parts, prompts={"query": "find: ", "document": "text: "})


def write_routed_models(folder):
    kinds = modules_of("sentence_transformer")
    routes = {"query": [static(folder)], "document": [transformer(folder), kinds.Pooling(SIZE)]}
    save(folder, [modules_of("base").Router(routes, default_route="document"), kinds.Normalize()])


def write_dense_on_tokens(folder):
    kinds = modules_of("sentence_transformer")
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    dense = randomized(kinds.Dense(SIZE, 12, **names), 1)
    save(folder, [transformer(folder), dense, kinds.Pooling(12), kinds.Normalize()])


def write_queries_without_model(folder):
    base, sparse = modules_of("base"), modules_of("sparse_encoder")
    masked = base.Transformer(str(tiny("BertForMaskedLM", folder / "part")), transformer_task="fill-mask")
    weights = torch.rand(len(vocabulary("bert")), generator=torch.Generator().manual_seed(1))
    router = base.Router.for_query_document(
        query_modules=[sparse.SparseStaticEmbedding(masked.tokenizer, weight=weights)],
        document_modules=[masked, sparse.SpladePooling("max")],
    )
    save(folder, [router], "SparseEncoder")


def write_normalized_splade(folder):
    base, sparse = modules_of("base"), modules_of("sparse_encoder")
    masked = base.Transformer(str(tiny("BertForMaskedLM", folder / "part")), transformer_task="fill-mask")
    save(folder, [masked, sparse.SpladePooling("max"), modules_of("sentence_transformer").Normalize()], "SparseEncoder")


CASES = {
    "static": (write_static, ["texts"]),
    "routed dense": (write_routed_dense, ["texts as query", "texts as document"]),
    "routed models": (write_routed_models, ["texts as query", "texts as document"]),
    "dense on tokens": (write_dense_on_tokens, ["texts"]),
    "queries without a model": (write_queries_without_model, ["texts as query", "texts as document"]),
    "normalized splade": (write_normalized_splade, ["texts"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_folder_with_these_modules_passes(verify, tmp_path, name):
    write, parts = CASES[name]
    write(tmp_path)
    done, certificate = verify(tmp_path / "model", "--max-tokens", "64")
    assert done.exit_code == 0, done.output
    (run,) = certificate["runs"]
    assert [part["name"] for part in run["parts"]] == parts
