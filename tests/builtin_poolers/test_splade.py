"""SPLADE equals the SparseEncoder of sentence-transformers, and never stores the logits of a whole batch."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary, write_sparse_encoder, write_tokenizer
from millpond_kernels.pooling import splade

TEXTS = [
    "a",
    "the cat sat on the mill",
    "rain, snow and wind over the river",
    "zyzzyva",
    "The NIGHT was Cold; the road was long, and the moon (red and small) lay on the lake.",
    "One TWO " * 40,  # over the limit
]
WAYS = {
    ("max", "relu"): "SPLADE_MAX",
    ("sum", "relu"): "SPLADE_SUM",
    ("max", "log1p_relu"): "SPLADE_MAX_LOG",
    ("sum", "log1p_relu"): "SPLADE_SUM_LOG",
}


@pytest.fixture
def theirs(sentence_transformers):
    def theirs(folder):
        model = sentence_transformers.SparseEncoder(str(folder), device="cpu")
        return model.encode(TEXTS, batch_size=3, show_progress_bar=False, convert_to_sparse_tensor=False).numpy()

    return theirs


def ours(llm):
    outputs = llm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    return np.stack([output.outputs.array for output in outputs])


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_each_way_equals_theirs(tmp_path, load, theirs, way, layout):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder, strategy=way[0], activation=way[1], layout=layout)
    llm = load(folder)
    assert llm.model_config.pooler_config.seq_pooling_type == WAYS[way]
    assert llm.model_config.embedding_size == len(vocabulary("bert"))
    expected = theirs(folder)
    vectors = ours(llm)
    assert vectors.shape == expected.shape == (len(TEXTS), len(vocabulary("bert")))
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)
    assert (vectors >= 0).all()
    assert 0.05 < (vectors == 0).mean() < 0.95
    assert np.linalg.norm(vectors, axis=1).min() > 1.1  # not normalized


@pytest.mark.parametrize("name", ["RobertaForMaskedLM", "XLMRobertaForMaskedLM", "CamembertForMaskedLM"])
def test_roberta_equals_theirs(tmp_path, load, theirs, name):
    folder = tiny(name, tmp_path)
    write_sparse_encoder(folder)
    np.testing.assert_allclose(ours(load(folder)), theirs(folder), rtol=1e-5, atol=1e-5)


SIZES = {"vocab_size": len(vocabulary("bert")), "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
MODERN = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
MODERN |= {"max_position_embeddings": 64, "local_attention": 8, "global_attn_every_n_layers": 3}
DISTILLED = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}
FAMILIES = {
    "modernbert": ("ModernBert", MODERN),
    "modernbert, biases": ("ModernBert", MODERN | {"classifier_bias": True, "norm_bias": True}),
    "modernbert, no bias": ("ModernBert", MODERN | {"decoder_bias": False}),
    "modernbert, silu": ("ModernBert", MODERN | {"classifier_activation": "silu", "tie_word_embeddings": False}),
    "distilbert": ("DistilBert", DISTILLED),
    "distilbert, relu": ("DistilBert", DISTILLED | {"activation": "relu"}),
    "distilbert, untied": ("DistilBert", DISTILLED | {"tie_word_embeddings": False}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_other_families_equal_theirs(tmp_path, load, theirs, family):
    transformers = pytest.importorskip("transformers")
    name, settings = FAMILIES[family]
    torch.manual_seed(5)
    model = getattr(transformers, f"{name}ForMaskedLM")(getattr(transformers, f"{name}Config")(**SIZES, **settings))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path, "bert")
    write_sparse_encoder(tmp_path)
    vectors = ours(load(tmp_path))
    np.testing.assert_allclose(vectors, theirs(tmp_path), rtol=1e-4, atol=1e-4)
    assert 0.05 < (vectors == 0).mean() < 0.95


@pytest.mark.parametrize("names", ["both biases", "a table of its own"])
def test_the_head_is_found_by_its_other_names(tmp_path, load, theirs, names):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    expected = theirs(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    if names == "a table of its own":
        del tensors["cls.predictions.bias"]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
        tensors["cls.seq_relationship.weight"] = torch.ones(2, 32)
    save_file(tensors, path)
    np.testing.assert_allclose(ours(load(folder)), expected, rtol=1e-5, atol=1e-5)


def test_any_masked_language_model_by_the_pooling_type(tmp_path, load):
    folder = tiny("BertForMaskedLM", tmp_path / "bare")
    assert load(folder).model_config.embedding_size == 32  # the backbone's size, without a SPLADE pooling type
    vectors = ours(load(folder, pooler_config={"pooling_type": "SPLADE_SUM"}))
    write_sparse_encoder(folder, strategy="sum")
    assert np.array_equal(vectors, ours(load(folder)))


def test_a_published_one_is_known_by_its_name(tmp_path, load):
    named = load(tiny("BertForMaskedLM", tmp_path / "splade-v3"))
    llm = load(tiny("BertForMaskedLM", tmp_path / "bare"), pooler_config={"pooling_type": "SPLADE_MAX"})
    assert np.array_equal(ours(named), ours(llm))


@pytest.mark.parametrize("ends", [{}, {"cls_token_id": 2, "sep_token_id": 3}, {"cls_token_id": 2}], ids=str)
def test_the_name_of_other_servers_leaves_out_what_config_json_names(tmp_path, load, ends):
    folder = tiny("BertForMaskedLM", tmp_path)
    everything = load(folder, pooler_config={"pooling_type": "SPLADE_SUM"})
    change(folder / "config.json", architectures=["BertSpladeSparseEmbeddingModel"], **ends)
    llm = load(folder, pooler_config={"pooling_type": "SPLADE_SUM"})
    assert load(folder).model_config.pooler_config.seq_pooling_type == "SPLADE_MAX"
    prompts = [[2, 40, 41, 3], [40, 41], [2, 3], [2], [40, 3]]

    def embedded(model, prompts):
        return [output.outputs.array for output in model.embed(prompts, use_tqdm=False)]

    limited, whole = embedded(llm, prompts), embedded(everything, prompts)
    weights = everything.model_config.embedding_size
    model = everything._loaded.model  # noqa: SLF001  a test of it looks into it
    for index, prompt in enumerate(prompts):
        bare = PoolingParams(use_activation=False)
        (states,) = everything.encode([prompt], bare, pooling_task="token_embed", use_tqdm=False)
        start = int("cls_token_id" in ends and prompt[0] == 2)
        stop = len(prompt) - int("sep_token_id" in ends and len(prompt) > start and prompt[-1] == 3)
        rows = torch.from_numpy(states.outputs.array.copy())[start:stop]
        expected = model.mlm(rows).relu().log1p().sum(0).numpy() if len(rows) else np.zeros(weights)
        np.testing.assert_allclose(limited[index], expected, rtol=1e-5, atol=1e-5)
    if not ends:
        assert all(np.array_equal(one, other) for one, other in zip(limited, whole, strict=True))


def test_token_vectors_are_returned_without_the_head(tmp_path, load):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    (output,) = load(folder).encode(["the cat"], pooling_task="token_embed")
    assert output.outputs.array.shape == (4, 32)


@pytest.mark.parametrize("name", WAYS.values())
def test_results_do_not_depend_on_the_number_of_rows_at_a_time(build, metadata, name):
    torch.manual_seed(0)
    lengths = (1, 300, 128, 127, 2, 500, 5, 5)
    hidden = torch.randn(sum(lengths), 16)
    seen = []

    class Head(nn.Linear):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    head = Head(16, 50)
    with torch.inference_mode():
        output = build(name, head=head, activation="identity")(hidden, metadata(*lengths))
        weights = nn.functional.linear(hidden, head.weight, head.bias).relu().double().log1p()
    weights = weights.log1p() if name.endswith("LOG") else weights
    parts = weights.split(lengths)
    expected = torch.stack([part.sum(0) if "SUM" in name else part.amax(0) for part in parts])
    assert torch.allclose(output.double(), expected, rtol=1e-5, atol=1e-5)
    assert sum(seen) == sum(lengths)
    assert max(seen) <= splade.BLOCK_ROWS


def test_a_model_without_logits_is_refused(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    with pytest.raises(InvalidInputError, match=r"SPLADE_MAX.*masked language model.*BertModel"):
        load(folder, pooler_config={"pooling_type": "SPLADE_MAX"})


def test_the_error_names_a_missing_head(tmp_path, load):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    change(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"tie_word_embeddings to false.*decoder\.weight"):
        load(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("pooling_strategy", "mean"), ("activation_function", "gelu"), ("pooling_strategy", ["max"])]
)
def test_ways_that_are_not_known_are_refused(tmp_path, load, field, value):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    change(folder / "1_SpladePooling" / "config.json", **{field: value})
    with pytest.raises(CheckpointError, match=r"1_SpladePooling.*Supported: max and sum, with relu and log1p_relu"):
        load(folder)


def test_other_modules_together_with_splade_pooling_are_refused(tmp_path, load):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    path = folder / "modules.json"
    line = {"idx": 2, "name": "2", "path": "", "type": "sentence_transformers.models.Dropout"}
    path.write_text(json.dumps([*json.loads(path.read_text()), line]))
    with pytest.raises(CheckpointError, match="Transformer, SpladePooling, Dropout"):
        load(folder)


def test_normalized_weights_equal_sentence_transformers_and_are_limited_after(tmp_path, load, sentence_transformers):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder)
    plain = load(folder).embed("the mill " * 90, on_overflow="chunk")[0].outputs.array
    path = folder / "modules.json"
    line = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
    path.write_text(json.dumps([*json.loads(path.read_text()), line]))
    llm, model = load(folder), sentence_transformers.SparseEncoder(str(folder), device="cpu")
    for most in (None, 7):
        options = {"convert_to_sparse_tensor": False, "max_active_dims": most, "show_progress_bar": False}
        outputs = llm.embed_sparse(TEXTS, max_active_dims=most, truncate_prompt_tokens=-1, use_tqdm=False)
        rows = np.stack([output.outputs.dense() for output in outputs])
        np.testing.assert_allclose(rows, model.encode(TEXTS, **options).numpy(), rtol=1e-5, atol=1e-6)
        if most is None:
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(ours(llm), model.encode(TEXTS, convert_to_sparse_tensor=False).numpy(), atol=1e-5)
    (raw,) = llm.embed(TEXTS[0], pooling_params=PoolingParams(use_activation=False))
    assert np.linalg.norm(raw.outputs.array) > 1.1
    # The mean of the chunks of a text is normalized like each chunk.
    assert np.linalg.norm(plain) > 1.1
    whole = llm.embed("the mill " * 90, on_overflow="chunk")[0].outputs.array
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-5)
