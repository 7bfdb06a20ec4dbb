"""Modules before and after Pooling: LayerNorm, Normalize between others, WeightedLayerPooling, CNN, Dense on tokens."""

import json

import numpy as np
import pytest

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny

SIZE = 32


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Checkpoints by architecture, with all hidden states as the output."""

    def bare(name, **config):
        return str(tiny(name, tmp_path_factory.mktemp(name), **config))

    return bare


def vectors(llm, texts):
    return np.stack([output.outputs.array for output in llm.embed(list(texts), use_tqdm=False)])


AFTER = {
    "LayerNorm": lambda kinds: [kinds.LayerNorm(SIZE)],
    "LayerNorm, Normalize": lambda kinds: [kinds.LayerNorm(SIZE), kinds.Normalize()],
    "Dense, LayerNorm, Dense": lambda kinds: [kinds.Dense(SIZE, 12), kinds.LayerNorm(12), kinds.Dense(12, 7)],
    "Normalize, Dense": lambda kinds: [kinds.Normalize(), kinds.Dense(SIZE, 12)],
    "Normalize, LayerNorm, Normalize": lambda kinds: [kinds.Normalize(), kinds.LayerNorm(SIZE), kinds.Normalize()],
}


@pytest.mark.parametrize("names", AFTER)
def test_modules_after_pooling(tmp_path, kinds, bare, randomized, save, load, assert_same, names):
    chain = [randomized(module) for module in AFTER[names](kinds)]
    model = save(tmp_path, [kinds.Transformer(bare("BertModel")), kinds.Pooling(SIZE), *chain])
    llm = load(tmp_path)
    assert llm.model_config.embedding_size == model.get_embedding_dimension()
    assert_same(llm, model)


@pytest.mark.parametrize("name", ["BertModel", "ModernBertModel", "Qwen3Model", "MPNetModel", "DistilBertModel"])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_weighted_mean_of_layers(tmp_path, kinds, bare, randomized, save, load, assert_same, name, first):
    folder = bare(name, output_hidden_states=True)
    transformer = kinds.Transformer(folder)
    layers = transformer.config.num_hidden_layers
    mean = randomized(kinds.WeightedLayerPooling(SIZE, num_hidden_layers=layers, layer_start=first))
    model = save(tmp_path, [transformer, mean, kinds.Pooling(SIZE), kinds.Normalize()])
    llm = load(tmp_path)
    assert_same(llm, model)
    if first < layers:  # another mean gives other vectors
        model[1].layer_weights.data[0] += 1
        assert np.abs(model.encode("the old mill") - vectors(llm, ["the old mill"])[0]).max() > 1e-3


def test_without_hidden_states_the_weighted_mean_is_skipped(tmp_path, kinds, bare, save, load, assert_same, caplog):
    mean = kinds.WeightedLayerPooling(SIZE, num_hidden_layers=2, layer_start=1)
    model = save(tmp_path, [kinds.Transformer(bare("BertModel")), mean, kinds.Pooling(SIZE)])
    assert_same(load(tmp_path), model)
    assert "has no effect, like in sentence-transformers: config.json has no output_hidden_states=true" in caplog.text


def test_weights_of_other_layers_than_the_model_has_are_refused(tmp_path, kinds, bare, save, load):
    mean = kinds.WeightedLayerPooling(SIZE, num_hidden_layers=5, layer_start=1)
    save(tmp_path, [kinds.Transformer(bare("BertModel", output_hidden_states=True)), mean, kinds.Pooling(SIZE)])
    with pytest.raises(CheckpointError, match=r"Shape mismatch for 'layer_weights' .* has \[5\]"):
        load(tmp_path)


@pytest.mark.parametrize("mode", ["mean", "max", "cls"])
def test_convolutions_before_pooling(tmp_path, kinds, bare, randomized, save, load, assert_same, mode):
    """Each text as sentence-transformers computes it alone: in a batch its convolutions read padding."""
    cnn = randomized(kinds.CNN(SIZE, out_channels=5, kernel_sizes=[1, 3, 5]))
    modules = [kinds.Transformer(bare("BertModel")), cnn, kinds.Pooling(15, pooling_mode=mode)]
    model = save(tmp_path, modules)
    llm = load(tmp_path)
    assert llm.model_config.embedding_size == 15
    assert_same(llm, model)
    (tokens,) = llm.encode("the old mill", pooling_task="token_embed", use_tqdm=False)
    expected = model.encode("the old mill", output_value="token_embeddings").numpy()
    np.testing.assert_allclose(tokens.outputs.array, expected, rtol=0, atol=1e-5)


def test_convolutions_that_drop_tokens_are_refused(tmp_path, kinds, bare, save, load):
    cnn = kinds.CNN(SIZE, out_channels=5, kernel_sizes=[3], stride_sizes=[2])
    save(tmp_path, [kinds.Transformer(bare("BertModel")), cnn, kinds.Pooling(5)])
    with pytest.raises(CheckpointError, match=r"only odd kernel_sizes and stride 1 .*; got"):
        load(tmp_path)


def test_dense_on_the_vectors_of_tokens(tmp_path, kinds, bare, randomized, save, load, assert_same):
    dense = randomized(kinds.Dense(SIZE, 12, module_input_name="token_embeddings"))
    model = save(tmp_path, [kinds.Transformer(bare("BertModel")), dense, kinds.Pooling(12, pooling_mode="max")])
    llm = load(tmp_path)
    assert llm.model_config.embedding_size == 12
    assert_same(llm, model)


def test_a_module_of_another_input_is_refused(tmp_path, kinds, bare, save, load):
    modules = [kinds.Transformer(bare("BertModel")), kinds.Pooling(SIZE), kinds.LayerNorm(SIZE)]
    save(tmp_path, modules)
    path = next(tmp_path.glob("*_LayerNorm")) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"module_input_name": "token_embeddings"}))
    with pytest.raises(CheckpointError, match="LayerNorm module that reads or writes 'token_embeddings'"):
        load(tmp_path)


def test_an_lstm_after_a_transformer_is_refused_with_the_reason(tmp_path, kinds, bare, save, load):
    modules = [kinds.Transformer(bare("BertModel")), kinds.LSTM(SIZE, 8), kinds.Pooling(16)]
    model = save(tmp_path, modules)
    with pytest.raises(KeyError, match="sentence_lengths"):
        model.encode("the old mill")
    with pytest.raises(CheckpointError, match="supports it only after WordEmbeddings"):
        load(tmp_path)
