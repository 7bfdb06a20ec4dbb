"""Sparse features of a SparseAutoEncoder equal the SparseEncoder of sentence-transformers."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError
from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers, write_sparse_autoencoder

TEXTS = ["a", "the cat sat on the mill", "rain, snow and wind over the river", "One TWO " * 40]
FORMS = {
    "pooling": {},
    "two poolings": {"pooling": ["cls", "mean"], "size": 64},
    "standardised": {"standardizes": True},
    "normalised before": {"normalize": True},
    "normalised behind": {"normalizes": True},
    "dense": {
        "dense": [DenseLayer(in_features=32, out_features=24)],
        "normalize": True,
        "normalizes": True,
        "standardizes": True,
        "size": 24,
    },
}


def coded(folder, *, pooling="mean", dense=(), normalize=False, **code):
    tiny("BertModel", folder)
    write_sentence_transformers(folder, pooling=pooling, dense=dense, normalize=normalize)
    write_sparse_autoencoder(folder, **code)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_each_form_equals_theirs(tmp_path, load, sentence_transformers, form):
    folder = coded(tmp_path / "model", **FORMS[form])
    llm, model = load(folder), sentence_transformers.SparseEncoder(str(folder), device="cpu")
    assert (llm.model_config.embedding_size, llm.model_config.embedding.similarity) == (64, "dot")
    for most, active in ((None, 9), (3, 3), (20, 20)):
        options = {"convert_to_sparse_tensor": False, "max_active_dims": most, "show_progress_bar": False}
        expected = model.encode(TEXTS, **options)
        outputs = llm.embed_sparse(TEXTS, max_active_dims=most, truncate_prompt_tokens=-1, use_tqdm=False)
        rows = np.stack([output.outputs.dense() for output in outputs])
        np.testing.assert_allclose(rows, expected.numpy(), rtol=1e-4, atol=1e-5)
        assert ((rows != 0).sum(1) == active).all()
        if most is None:
            dense = [output.outputs.array for output in llm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)]
            np.testing.assert_allclose(np.stack(dense), rows, rtol=1e-5, atol=1e-6)
            scores = [it.outputs.score for it in llm.score(TEXTS[0], TEXTS[1:3], use_tqdm=False)]
            theirs = model.similarity(expected[:1], expected[1:3])[0].numpy()
            np.testing.assert_allclose(scores, theirs, rtol=1e-4, atol=1e-4)


def test_features_have_numbers_for_names_and_tokens_no_code(tmp_path, load):
    llm = load(coded(tmp_path / "model", normalize=True))
    (output,) = llm.embed_sparse(TEXTS[1], return_tokens=True)
    assert output.outputs.tokens == tuple(map(str, output.outputs.indices.tolist()))
    wanted = [{"task": "embed_sparse", "extra_kwargs": {"max_active_dims": 2}}, {"task": "token_embed"}]
    (both,) = llm.represent(TEXTS[1], wanted)
    sparse, tokens = both.outputs.results
    assert (sparse.num_terms, sparse.size, tokens.array.shape) == (2, 64, (len(both.prompt_token_ids), 32))


def test_max_active_dims_in_the_settings_takes_precedence_over_the_code(tmp_path, load, sentence_transformers):
    folder = coded(tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_active_dims": 5}))
    expected = sentence_transformers.SparseEncoder(str(folder), device="cpu").encode(TEXTS).to_dense().numpy()
    outputs = load(folder).embed_sparse(TEXTS, truncate_prompt_tokens=-1)
    np.testing.assert_allclose(np.stack([it.outputs.dense() for it in outputs]), expected, rtol=1e-4, atol=1e-5)
    assert {it.outputs.num_terms for it in outputs} == {5}


def test_damaged_folders_are_named(tmp_path, load):
    folder = coded(tmp_path / "model")
    path = folder / "2_SparseAutoEncoder" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor for name, tensor in tensors.items() if name != "latent_bias"}, path)
    with pytest.raises(CheckpointError, match=r"has no tensor 'latent_bias'"):
        load(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="SparseAutoEncoder module without weights"):
        load(folder)
    write_sparse_autoencoder(folder)
    with pytest.raises(CheckpointError, match="unsupported modules after SparseAutoEncoder: SparseAutoEncoder"):
        load(folder)


def test_the_error_of_a_dense_model_states_that_it_has_no_sparse_vectors(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder)
    with pytest.raises(InvalidInputError, match="nor a head for token weights, nor a SparseAutoEncoder"):
        load(folder).embed_sparse("a")
