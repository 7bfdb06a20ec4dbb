"""Each kind of model is compared with the class of its library, and passes."""

import json

import pytest
from tokenizers import Tokenizer

from millpond.testing.checkpoints import (
    DenseLayer,
    tiny,
    vocabulary,
    write_dense,
    write_sentence_transformers,
    write_sparse_encoder,
)
from millpond_models.testing.dual_encoders import tiny_dual_encoder


def sparse(folder):
    write_sparse_encoder(tiny("BertForMaskedLM", folder))


def concatenated(folder):
    tiny("DistilBertModel", folder)
    write_sentence_transformers(folder, pooling=["cls", "mean"], normalize=False, layout="old")


def decoder(folder):
    write_sentence_transformers(tiny("Qwen3Model", folder), pooling="lasttoken")


def late_interaction(folder):
    """Write the layout of PyLate, with markers as added tokens."""
    tiny("BertModel", folder, vocab_size=len(vocabulary()) + 2)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save(str(folder / "tokenizer.json"))
    identity = "torch.nn.modules.linear.Identity"
    write_dense(folder / "1_Dense", DenseLayer(in_features=32, out_features=8, bias=False, activation=identity))
    types = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
    modules = [{"idx": i, "name": str(i), "path": path, "type": types[path]} for i, path in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    settings = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "prompts": {}}
    settings |= {"query_length": 16, "document_length": 40, "do_query_expansion": False}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")


KIND_CASES = {
    "concatenated": (concatenated, "SentenceTransformer", "embeddings"),
    "decoder": (decoder, "SentenceTransformer", "embeddings"),
    "sparse": (sparse, "SparseEncoder", "sparse embeddings"),
    "late interaction": (late_interaction, "MultiVectorEncoder", "token embeddings"),
    "bare": (lambda it: tiny("RobertaModel", it), "RobertaModel", "hidden states"),
    "score": (lambda it: tiny("BertForSequenceClassification", it, num_labels=1), "CrossEncoder", "scores"),
    "classes": (
        lambda it: tiny("BertForSequenceClassification", it, num_labels=3),
        "BertForSequenceClassification",
        "classes",
    ),
    "classes of tokens": (
        lambda it: tiny("BertForTokenClassification", it, num_labels=3),
        "BertForTokenClassification",
        "classes of tokens",
    ),
    "clip": (lambda it: tiny_dual_encoder("CLIPModel", it), "CLIPModel", "embeddings of texts and images"),
    "siglip": (lambda it: tiny_dual_encoder("SiglipModel", it), "SiglipModel", "embeddings of texts and images"),
    "siglip 2": (lambda it: tiny_dual_encoder("Siglip2Model", it), "Siglip2Model", "embeddings of texts and images"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KIND_CASES)
def test_a_model_passes_against_the_class_of_its_library(verify, tmp_path, name):
    write, reference, results = KIND_CASES[name]
    write(tmp_path / "model")
    done, certificate = verify(tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert certificate["reference"]["name"].endswith(f", {reference}")
    assert certificate["results"] == results
    (run,) = certificate["runs"]
    assert all(part["count"] >= 20 for part in run["parts"])
    assert ("images" in [part["name"] for part in run["parts"]]) == (results == "embeddings of texts and images")


@pytest.mark.slow
def test_logits_of_changed_weights_differ(verify, tmp_path):
    folders = [
        tiny("BertForSequenceClassification", tmp_path / name, num_labels=3, seed=seed)
        for seed, name in enumerate(("one", "other"))
    ]
    done, certificate = verify(folders[0], "--reference", folders[1])
    assert done.exit_code == 1
    assert "the results differ by up to" in done.stdout
    assert "model.safetensors differs from that of the reference: bert.embeddings" in done.stdout
    (part,) = certificate["runs"][0]["parts"]
    assert part["max_relative_difference"] > 0.01
