"""StaticEmbedding: equal to sentence-transformers, in its layouts and in model2vec's."""

import importlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, vocabulary, write_dense, write_tokenizer

SIZE = len(vocabulary())
TEXTS = ["the cat", "a river under the old bridge, in the rain!", "sun", "moon " * 300]
OLD = "sentence_transformers.models"
TOLERANCE = 1e-6


def table(rows=SIZE, size=24, seed=0):
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def write(folder, tensors, *, home="0_StaticEmbedding", modules=(), config=None):
    """Write a model with the given tensors and modules."""
    write_tokenizer(folder / home)
    (folder / home / "tokenizer_config.json").unlink()
    save_file(tensors, folder / home / "model.safetensors")
    types = [(home, f"{OLD}.StaticEmbedding"), *((f"{i}_{name}", f"{OLD}.{name}") for i, name in enumerate(modules, 1))]
    lines = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(lines))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def theirs():
    """Return the embeddings of sentence-transformers."""
    sentence_transformers = importlib.import_module("sentence_transformers")

    def theirs(folder, texts=TEXTS, **settings):
        return sentence_transformers.SentenceTransformer(str(folder), device="cpu", **settings).encode(texts)

    return theirs


def ours(llm, texts=TEXTS, **settings):
    return np.stack([output.outputs.array for output in llm.embed(texts, use_tqdm=False, **settings)])


@pytest.mark.parametrize("modules", [(), ("Normalize",), ("Dense",), ("Dense", "Normalize")], ids=str)
@pytest.mark.parametrize("home", ["0_StaticEmbedding", ""])
def test_texts_equal_sentence_transformers(tmp_path, load, theirs, home, modules):
    write(tmp_path, {"embedding.weight": table()}, home=home, modules=modules)
    if "Dense" in modules:
        write_dense(tmp_path / "1_Dense", DenseLayer(in_features=24, out_features=10))
    expected = theirs(tmp_path)
    llm = load(tmp_path)
    assert llm.model_config.embedding_size == expected.shape[1] == (10 if "Dense" in modules else 24)
    np.testing.assert_allclose(ours(llm), expected, rtol=0, atol=TOLERANCE)
    alone = np.concatenate([ours(llm, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=TOLERANCE)
    assert (np.abs(np.linalg.norm(expected, axis=1) - 1) < 1e-5).all() == ("Normalize" in modules)


def test_folders_saved_by_sentence_transformers_are_loaded(tmp_path, load, theirs):
    sentence_transformers = importlib.import_module("sentence_transformers")
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    tokenizers = importlib.import_module("tokenizers")
    write_tokenizer(tmp_path / "made")
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "made" / "tokenizer.json"))
    module = modules.StaticEmbedding(tokenizer, embedding_weights=table())
    sentence_transformers.SentenceTransformer(modules=[module, modules.Normalize()]).save(str(tmp_path / "saved"))
    llm = load(tmp_path / "saved")
    np.testing.assert_allclose(ours(llm), theirs(tmp_path / "saved"), rtol=0, atol=TOLERANCE)
    assert llm.model_config.max_model_len == 1_000_000


@pytest.mark.parametrize("parts", [(), ("mapping",), ("weights",), ("mapping", "weights")], ids=str)
def test_a_table_of_model2vec_equals_sentence_transformers(tmp_path, load, theirs, parts):
    """Newer files contain tokens that share rows, and token weights."""
    generator = torch.Generator().manual_seed(1)
    tensors = {"embeddings": table(40 if "mapping" in parts else SIZE)}
    if "mapping" in parts:
        tensors["mapping"] = torch.randint(40, (SIZE,), generator=generator, dtype=torch.int32)
    if "weights" in parts:
        tensors["weights"] = torch.rand(SIZE, generator=generator, dtype=torch.float64)
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "seq_length": 1000000, "hidden_dim": 24}
    write(tmp_path, tensors, home=".", modules=("Normalize",), config=config)
    llm = load(tmp_path, dtype="float32")
    assert llm.model_config.hf_config.vocab_size == SIZE
    np.testing.assert_allclose(ours(llm), theirs(tmp_path), rtol=0, atol=TOLERANCE)


def test_special_tokens_are_left_out_and_token_vectors_are_rows(tmp_path, load):
    write(tmp_path, {"embedding.weight": table()})
    llm = load(tmp_path)
    (output,) = llm.encode("the cat", pooling_task="token_embed")
    ids = [vocabulary()["the"], vocabulary()["cat"]]
    assert output.prompt_token_ids == ids
    np.testing.assert_allclose(output.outputs.array, table()[ids].numpy(), rtol=0, atol=TOLERANCE)


def test_a_text_without_tokens_is_refused(tmp_path, load, theirs):
    write(tmp_path, {"embedding.weight": table()})
    assert not theirs(tmp_path, [""]).any()
    with pytest.raises(InvalidInputError, match="empty"):
        load(tmp_path).embed([""])


def test_the_truncation_of_its_tokenizer_is_the_longest_text(tmp_path, load, theirs):
    write(tmp_path, {"embedding.weight": table()})
    path = tmp_path / "0_StaticEmbedding" / "tokenizer.json"
    truncation = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": truncation}))
    with pytest.raises(InvalidInputError, match="maximum context length is 7 tokens"):
        load(tmp_path).embed(TEXTS)
    np.testing.assert_allclose(ours(load(tmp_path, on_overflow="truncate")), theirs(tmp_path), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "settings", [{"quantization": "int8"}, {"dtype": "bfloat16"}, {"batch_invariant": True}], ids=str
)
def test_lower_precisions_are_close(tmp_path, load, theirs, settings):
    write(tmp_path, {"embedding.weight": table()}, modules=("Normalize",))
    distance = 1 - (ours(load(tmp_path, **settings)) * theirs(tmp_path)).sum(axis=1)
    assert np.abs(distance).max() <= 1e-3


def test_matryoshka_models_allow_fewer_dimensions(tmp_path, load, theirs):
    folder = write(tmp_path / "static-retrieval-mrl-en-v1", {"embedding.weight": table(size=128)})
    llm = load(folder)
    expected = theirs(folder, truncate_dim=32)
    np.testing.assert_allclose(ours(llm, pooling_params=PoolingParams(dimensions=32)), expected, rtol=0, atol=TOLERANCE)
    with pytest.raises(InvalidInputError, match="33"):
        llm.embed(TEXTS, pooling_params=PoolingParams(dimensions=33))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"embedding.weight": table(SIZE - 1)}, f"has {SIZE} tokens, but the embedding table has {SIZE - 1} rows"),
        ({"embedding.bias": table()}, r"embedding\.weight or embeddings; it contains: embedding\.bias"),
        ({"embeddings": torch.ones(SIZE)}, r"embedding\.weight or embeddings; it contains: embeddings"),
        ({"embeddings": table(), "weights": torch.ones(3)}, r"'weights': the checkpoint has \[3\]"),
        ({"embeddings": table(9), "mapping": torch.arange(SIZE)}, f"rows from 0 to {SIZE - 1}, but 'embeddings' has 9"),
        ({"embedding.weight": table(), "scale": torch.ones(1)}, r"unused \(1\): scale"),
    ],
    ids=["few rows", "no table", "a vector", "weights", "mapping", "unused"],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, load, tensors, message):
    with pytest.raises(CheckpointError, match=message):
        load(write(tmp_path, tensors))


def test_unsupported_modules_before_or_after_it_are_refused(tmp_path, load):
    write(tmp_path, {"embedding.weight": table()}, modules=("WeightedLayerPooling",))
    with pytest.raises(CheckpointError, match="WeightedLayerPooling"):
        load(tmp_path)
    assert set(load_file(tmp_path / "0_StaticEmbedding" / "model.safetensors")) == {"embedding.weight"}
