"""Test Matryoshka dimensions: which models allow them, and that the first numbers are kept and normalized."""

import numpy as np
import pytest

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers

TEXTS = ["the cat", "rain and wind over the river", "a"]
# The published dimensions. The config.json of these models does not contain them.
FAMILIES = [
    ("Qwen3-Embedding-0.6B", ()),
    ("Qwen3-VL-Embedding-2B", ()),
    ("embeddinggemma-300m", (768, 512, 256, 128)),
    ("nomic-embed-text-v1.5", ()),
    ("nomic-embed-text-v2-moe", (768, 256)),
    ("snowflake-arctic-embed-m-v1.5", (768, 256)),
    ("snowflake-arctic-embed-m-v2.0", (768, 256)),
    ("snowflake-arctic-embed-l-v2.0", (1024, 256)),
    ("jina-embeddings-v3", (32, 64, 128, 256, 512, 768, 1024)),
    ("jina-embeddings-v5-text-small", ()),
    ("mxbai-embed-large-v1", ()),
    ("gte-multilingual-base", ()),
]


def arrays(outputs):
    return np.stack([output.outputs.array for output in outputs])


def encode(llm, dimensions, *, task="embed", **params):
    return llm.encode(TEXTS, PoolingParams(dimensions=dimensions, **params), pooling_task=task, use_tqdm=False)


# --- allowed dimensions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "trained"), FAMILIES)
def test_known_matryoshka_models_need_no_override(tmp_path, load, name, trained):
    model = load(tiny("BertModel", tmp_path / name)).model_config
    assert model.is_matryoshka
    assert model.matryoshka_dimensions == trained


@pytest.mark.parametrize("name", ["Qwen3-Embedding-0.6B", "embeddinggemma-300m"])
def test_config_json_takes_precedence_over_published_facts(tmp_path, load, name):
    folder = tiny("BertModel", tmp_path / name, matryoshka_dimensions=[8, 16])
    assert load(folder).model_config.matryoshka_dimensions == (8, 16)
    folder = tiny("BertModel", tmp_path / "other" / name, is_matryoshka=False)
    assert not load(folder).model_config.is_matryoshka


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "gte-base", "snowflake-arctic-embed-m", "nomic-embed-text-v1"])
def test_errors_for_other_models_contain_the_fix(tmp_path, load, name):
    llm = load(tiny("BertModel", tmp_path / name))
    message = (
        r"does not support matryoshka representation, changing output dimensions will lead to poor results\. "
        r"dimensions=8 was requested; the model has 32\. .*hf_overrides=\{'is_matryoshka': True\} or "
        r"\{'matryoshka_dimensions': \[\.\.\.\]\}"
    )
    with pytest.raises(InvalidInputError, match=message) as caught:
        encode(llm, 8)
    assert caught.value.parameter == "dimensions"


@pytest.mark.parametrize("name", ["Qwen3-Embedding-0.6B", "embeddinggemma-300m"])
def test_overrides_take_precedence_over_published_facts(tmp_path, load, name):
    llm = load(tiny("BertModel", tmp_path / name), hf_overrides={"is_matryoshka": False})
    with pytest.raises(InvalidInputError, match="does not support matryoshka"):
        encode(llm, 8)


@pytest.mark.parametrize(
    ("overrides", "good", "bad"),
    [
        ({"is_matryoshka": True}, [1, 7, 32], [33, 1000]),
        ({"matryoshka_dimensions": [8, 16]}, [8, 16, 32], [1, 9, 33]),
        ({"matryoshka_dimensions": 8}, [8, 32], [7]),
        (lambda _: {"is_matryoshka": True, "matryoshka_dimensions": [4]}, [4, 32], [5]),
    ],
)
def test_overrides_allow_some(checkpoint, load, overrides, good, bad):
    llm = load(checkpoint, hf_overrides=overrides)
    for dimensions in good:
        assert arrays(encode(llm, dimensions)).shape == (3, dimensions)
    for dimensions in bad:
        with pytest.raises(InvalidInputError, match=rf"only supports .*, got {dimensions}\.") as caught:
            encode(llm, dimensions)
        assert caught.value.parameter == "dimensions"


@pytest.mark.parametrize("task", ["embed", "token_embed"])
def test_all_dimensions_are_always_allowed(tiny_bert, task):
    for full, plain in zip(encode(tiny_bert, 32, task=task), encode(tiny_bert, None, task=task), strict=True):
        assert np.array_equal(full.outputs.array, plain.outputs.array)


@pytest.mark.parametrize("value", [0, -1, 8.0, "8", True])
def test_invalid_dimensions_are_refused(value):
    with pytest.raises(ValueError, match="dimensions"):
        PoolingParams(dimensions=value)


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["embed", "token_embed"])
@pytest.mark.parametrize("dense", [False, True], ids=["plain", "dense"])
def test_vectors_are_truncated_and_then_normalized(checkpoint, load, task, dense):
    layers = [DenseLayer(in_features=32, out_features=40), DenseLayer(in_features=40, out_features=24)]
    write_sentence_transformers(checkpoint, dense=layers if dense else [])
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True})
    size = 24 if dense else 32
    assert llm.model_config.embedding_size == size
    whole = [output.outputs.array for output in encode(llm, None, task=task, use_activation=False)]
    for dimensions in (1, 7, size):
        for output, raw in zip(encode(llm, dimensions, task=task), whole, strict=True):
            cut = raw[..., :dimensions]
            expected = cut / np.linalg.norm(cut, axis=-1, keepdims=True)
            assert np.abs(output.outputs.array - expected).max() <= 1e-6
        for output, raw in zip(encode(llm, dimensions, task=task, use_activation=False), whole, strict=True):
            assert np.abs(output.outputs.array - raw[..., :dimensions]).max() <= 1e-6
    with pytest.raises(InvalidInputError, match=rf"range \[1, {size}\], got {size + 1}"):
        encode(llm, size + 1, task=task)


def test_results_of_several_pooling_types_are_one_vector(checkpoint, load):
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True}, pooler_config={"pooling_type": "CLS+MEAN"})
    assert llm.model_config.embedding_size == 64
    whole = arrays(encode(llm, None, use_activation=False))
    expected = whole[:, :40] / np.linalg.norm(whole[:, :40], axis=1, keepdims=True)
    assert np.abs(arrays(encode(llm, 40)) - expected).max() <= 1e-6
    assert encode(llm, 32, task="token_embed")[0].outputs.array.shape[1] == 32
    with pytest.raises(InvalidInputError, match=r"range \[1, 64\], got 65"):
        encode(llm, 65)
    with pytest.raises(InvalidInputError, match=r"range \[1, 32\], got 33"):
        encode(llm, 33, task="token_embed")


def test_dense_modules_for_joined_pooling_types_take_no_tokens(checkpoint, load):
    write_sentence_transformers(
        checkpoint, pooling=["cls", "mean"], dense=[DenseLayer(in_features=64, out_features=24)]
    )
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True})
    assert arrays(encode(llm, 8)).shape == (3, 8)
    with pytest.raises(InvalidInputError, match="Dense modules expect the concatenated results of 2 pooling types"):
        encode(llm, None, task="token_embed")


def test_prompts_of_one_call_may_have_different_dimensions(checkpoint, load):
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True})
    outputs = llm.embed(TEXTS, pooling_params=[PoolingParams(dimensions=4), None, PoolingParams(dimensions=9)])
    assert [output.outputs.hidden_size for output in outputs] == [4, 32, 9]
    for output, text in zip(outputs, TEXTS, strict=True):
        (alone,) = llm.embed(text, pooling_params=PoolingParams(dimensions=output.outputs.hidden_size))
        assert np.abs(output.outputs.array - alone.outputs.array).max() <= 1e-6
