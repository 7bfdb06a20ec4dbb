"""DistilBERT, alone and with its heads: equal to transformers, in all that they are computed in."""

import importlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_sentence_transformers

VOCABULARY = len(vocabulary("bert"))
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FAMILIES = ("DistilBert",)
HEADS = {"ForSequenceClassification": "classify", "ForTokenClassification": "token_classify"}
RAW = PoolingParams(use_activation=False)
WIDE = {"DistilBert": {"dim": 64, "hidden_dim": 128}}
TOLERANCE = 2e-5


def prompts_of(lengths, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(5, VOCABULARY, size=length).tolist() for length in lengths]


def found(llm, prompts, task, params=RAW):
    return [output.outputs.array for output in llm.encode(prompts, params, pooling_task=task, use_tqdm=False)]


def worst(found, expected):
    assert [rows.shape for rows in found] == [rows.shape for rows in expected]
    return max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))


def cosine_distance(found, expected):
    pairs = zip(np.concatenate(found), np.concatenate(expected), strict=True)
    return max(1 - float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for one, other in pairs)


@pytest.fixture(scope="session")
def expected(transformers):
    """What transformers' class of the same name gives: hidden states of a backbone, else logits; loaded strictly."""

    def expected(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder)
        (name,) = config.architectures
        model = getattr(transformers, name)(config)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        field = "last_hidden_state" if name.endswith("Model") else "logits"
        with torch.inference_mode():
            return [getattr(model.eval()(torch.tensor([ids])), field)[0].numpy() for ids in prompts]

    return expected


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_of_mixed_lengths_equal_transformers(tmp_path, load, hidden, expected, family):
    folder = tiny(f"{family}Model", tmp_path)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    together = hidden(llm, prompts)
    assert worst(together, expected(folder, prompts)) <= TOLERANCE
    assert worst([hidden(llm, prompt)[0] for prompt in prompts], together) <= TOLERANCE


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_mixed_lengths_equal_transformers(tmp_path, load, expected, family, head, num_labels):
    folder = tiny(f"{family}{head}", tmp_path, num_labels=num_labels)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    together = found(llm, prompts, HEADS[head])
    assert worst(together, expected(folder, prompts)) <= TOLERANCE
    assert worst([found(llm, prompt, HEADS[head])[0] for prompt in prompts], together) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_and_int8_are_near(tmp_path, load, hidden, expected, family):
    folder = tiny(f"{family}Model", tmp_path, **WIDE[family])
    prompts = prompts_of((1, 20, 64))
    exact = expected(folder, prompts)
    assert 0 < cosine_distance(hidden(load(folder, dtype="bfloat16"), prompts), exact) <= 1e-3
    assert 0 < cosine_distance(hidden(load(folder, quantization="int8"), prompts), exact) <= 1e-2


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tensor_missing_or_unknown_is_named(tmp_path, load, family, head):
    folder = tiny(f"{family}{head}", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"classifier.scale": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unused \(1\): classifier\.scale$"):
        load(folder)
    lost = {name: tensor for name, tensor in tensors.items() if name != "classifier.bias"}
    save_file(lost, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing \(1\): classifier\.(output\.)?bias$"):
        load(folder)


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_transformer_of_it_equals_sentence_transformers(tmp_path, load, family, layout):
    folder = tiny(f"{family}Model", tmp_path)
    dense = [DenseLayer(in_features=32, out_features=12)]
    write_sentence_transformers(folder, pooling="mean", dense=dense, layout=layout, max_seq_length=24)
    texts = ["the cat", "a river under the old bridge in the rain", "sun " * 40]
    sentence_transformers = importlib.import_module("sentence_transformers")
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    llm = load(folder, on_overflow="truncate")
    assert llm.model_config.embedding_size == 12
    assert worst([output.outputs.array for output in llm.embed(texts)], list(wanted)) <= TOLERANCE


# --- of one family alone --------------------------------------------------------------------------------------------


def test_the_masked_language_model_of_distilbert_embeds(tmp_path, load, hidden, transformers):
    config = transformers.DistilBertConfig(
        vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=40
    )
    torch.manual_seed(3)
    model = transformers.DistilBertForMaskedLM(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    llm = load(tmp_path)
    assert (llm.model_config.embedding_size, llm.model_config.max_model_len) == (32, 40)
    with torch.inference_mode():
        expected = model.distilbert(torch.tensor([[7, 8, 9]])).last_hidden_state[0].numpy()
    assert worst(hidden(llm, [7, 8, 9]), [expected]) <= TOLERANCE
    with pytest.raises(InvalidInputError, match="40 tokens"):
        llm.embed([[7] * 41])


def test_segments_say_nothing_to_distilbert(tmp_path, load):
    """Its tokenizer may give them for a pair, and the model has no table of them."""
    folder = tiny("DistilBertForSequenceClassification", tmp_path, num_labels=1)
    llm = load(folder)
    (pair,) = llm.score("the cat", ["a river"], pooling_params=RAW)
    one = next(iter(found(llm, [pair.prompt_token_ids], "classify")))
    assert pair.outputs.score == pytest.approx(float(one[0]), abs=1e-6)


def test_heads_that_do_not_fit_are_refused(tmp_path, load):
    folder = tiny("DistilBertModel", tmp_path)
    with pytest.raises(CheckpointError, match="hidden_size 32 cannot be shared among num_attention_heads 5"):
        load(folder, hf_overrides={"n_heads": 5})
