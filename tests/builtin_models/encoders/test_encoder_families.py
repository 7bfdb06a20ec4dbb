"""DistilBERT, EuroBERT and DeBERTa, with and without heads: equal to transformers, in all dtypes."""

import importlib
import json
from functools import partial

import numpy as np
import pytest
import torch
from model_kit import RAW, max_difference, run_task
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from millpond import CheckpointError, InvalidInputError
from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_config, write_sentence_transformers
from millpond.testing.comparisons import random_prompts, rewrite

VOCABULARY = len(vocabulary("bert"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FAMILIES = ("DistilBert", "EuroBert", "DebertaV2")
HEADS = {"ForSequenceClassification": "classify", "ForTokenClassification": "token_classify"}
WIDE = {
    "DistilBert": {"dim": 64, "hidden_dim": 128},
    "EuroBert": {"hidden_size": 64, "intermediate_size": 128},
    "DebertaV2": {"hidden_size": 64, "intermediate_size": 128},
}
TOLERANCE = 2e-5


def cosine_distance(actual, expected):
    pairs = zip(np.concatenate(actual), np.concatenate(expected), strict=True)
    return max(1 - float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for one, other in pairs)


@pytest.fixture(scope="session")
def expected(transformers):
    """The hidden states or logits of transformers' class of the same name; the weights are loaded strictly."""

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
    assert max_difference(together, expected(folder, prompts)) <= TOLERANCE
    assert max_difference([hidden(llm, prompt)[0] for prompt in prompts], together) <= TOLERANCE


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_mixed_lengths_equal_transformers(tmp_path, load, expected, family, head, num_labels):
    folder = tiny(f"{family}{head}", tmp_path, num_labels=num_labels)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    together = run_task(llm, prompts, HEADS[head])
    assert max_difference(together, expected(folder, prompts)) <= TOLERANCE
    assert max_difference([run_task(llm, prompt, HEADS[head])[0] for prompt in prompts], together) <= TOLERANCE


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
def test_a_sentence_transformer_folder_equals_sentence_transformers(tmp_path, load, family, layout):
    folder = tiny(f"{family}Model", tmp_path)
    dense = [DenseLayer(in_features=32, out_features=12)]
    write_sentence_transformers(folder, pooling="mean", dense=dense, layout=layout, max_seq_length=24)
    texts = ["the cat", "a river under the old bridge in the rain", "sun " * 40]
    sentence_transformers = importlib.import_module("sentence_transformers")
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    llm = load(folder, on_overflow="truncate")
    assert llm.model_config.embedding_size == 12
    assert max_difference([output.outputs.array for output in llm.embed(texts)], list(wanted)) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_language_model_embeds_as_its_backbone(tmp_path, load, hidden, transformers, family):
    """Saved by transformers with the MLM head, which is ignored, and with current names."""
    settings = json.loads((tiny(f"{family}Model", tmp_path / "config") / "config.json").read_text())
    model_class = getattr(transformers, f"{family}ForMaskedLM")
    config = model_class.config_class(**{key: value for key, value in settings.items() if key != "architectures"})
    torch.manual_seed(3)
    model = model_class(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path / "model")
    llm = load(tmp_path / "model")
    pooling = {"EuroBert": "MEAN"}.get(family, "CLS")
    assert llm.model_config.embedding_size == 32
    assert llm.model_config.pooler_config.seq_pooling_type == pooling
    with torch.inference_mode():
        expected = model.base_model(torch.tensor([[7, 8, 9]])).last_hidden_state[0].numpy()
    assert max_difference(hidden(llm, [7, 8, 9]), [expected]) <= TOLERANCE
    with pytest.raises(InvalidInputError, match="64 tokens"):
        llm.embed([[7] * 65])


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_are_scored_as_by_a_cross_encoder(tmp_path, load, family):
    """Like mxbai-rerank: the sigmoid of one label; token types are ignored without embeddings for them."""
    folder = tiny(f"{family}ForSequenceClassification", tmp_path, num_labels=1)
    documents = ["the cat sat by the river", "no", "a small boat in the rain, under the bridge"]
    model = importlib.import_module("sentence_transformers").CrossEncoder(str(folder), device="cpu")
    wanted = model.predict([("what is the cat?", document) for document in documents])
    scores = [output.outputs.score for output in load(folder).score("what is the cat?", documents)]
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_command_line_returns_the_results_of_llm(tmp_path, load, family):
    folder = tiny(f"{family}Model", tmp_path / "model")
    cli = importlib.import_module("millpond_command.cli")
    done = CliRunner().invoke(cli.app, ["embed", "-m", str(folder), "--format", "jsonl", "the cat", "a river"])
    assert done.exit_code == 0, done.stderr
    result = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
    expected = [output.outputs.array for output in load(folder).embed(["the cat", "a river"])]
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


# --- of one family alone --------------------------------------------------------------------------------------------


def test_distilbert_ignores_token_types(tmp_path, load):
    """The tokenizer may return token types for a pair, but the model has no embeddings for them."""
    folder = tiny("DistilBertForSequenceClassification", tmp_path, num_labels=1)
    llm = load(folder)
    (pair,) = llm.score("the cat", ["a river"], pooling_params=RAW)
    one = next(iter(run_task(llm, [pair.prompt_token_ids], "classify")))
    assert pair.outputs.score == pytest.approx(float(one[0]), abs=1e-6)


def test_heads_that_do_not_fit_are_refused(tmp_path, load):
    folder = tiny("DistilBertModel", tmp_path)
    with pytest.raises(CheckpointError, match="hidden_size 32 is not divisible by num_attention_heads 5"):
        load(folder, hf_overrides={"n_heads": 5})


@pytest.mark.parametrize(
    "changes",
    [
        {"pos_att_type": ["c2p"]},
        {"pos_att_type": ["p2c"], "share_att_key": False},
        {"share_att_key": False, "norm_rel_ebd": "none"},
        {"position_buckets": -1, "max_relative_positions": 9},
        {"position_buckets": 40},
        {"position_buckets": 6, "max_relative_positions": 20},
        {"relative_attention": False, "position_biased_input": True},
        {"pos_att_type": None},
        {"conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2},
        {"conv_kernel_size": 5},
        {"position_biased_input": True, "type_vocab_size": 2, "embedding_size": 24},
        {"num_attention_heads": 1},
    ],
    ids=str,
)
def test_variants_of_deberta(tmp_path, load, hidden, expected, changes):
    folder = tiny("DebertaV2Model", tmp_path, **changes)
    prompts = prompts_of(LENGTHS)
    together = hidden(load(folder), prompts)
    assert max_difference(together, expected(folder, prompts)) <= TOLERANCE
    assert max_difference(hidden(load(folder, batch_invariant=True), prompts), together) <= TOLERANCE


def test_long_texts_of_deberta_equal_transformers_with_attention_in_blocks(tmp_path, load, hidden, expected):
    """The texts have one length, and there are too many to compute all queries at once."""
    settings = {"max_position_embeddings": 200, "position_buckets": 64, "num_hidden_layers": 1}
    folder = tiny("DebertaV2Model", tmp_path, tokenizer=False, **settings)
    prompts = prompts_of((200, 200, 200, 150), seed=3)
    llm = load(folder, skip_tokenizer_init=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("millpond_kernels.attention.sdpa"), "MAX_SCORES", 1 << 16)
        assert max_difference(hidden(llm, prompts), expected(folder, prompts)) <= TOLERANCE


def test_unknown_position_terms_are_refused(tmp_path, load):
    with pytest.raises(CheckpointError, match=r"unknown pos_att_type 'p2p\|c2p'\. Available: c2p, p2c"):
        load(tiny("DebertaV2Model", tmp_path), hf_overrides={"pos_att_type": "p2p|c2p"})


@pytest.mark.parametrize(
    "name", ["lm_predictions.lm_head.bias", "mask_predictions.dense.bias", "deberta.pooler.dense.bias"]
)
def test_pretraining_heads_of_deberta_are_not_loaded(tmp_path, load, hidden, name):
    folder = tiny("DebertaV2Model", tmp_path, prefix="deberta.")
    before = hidden(load(folder), [5, 6, 7])
    extra = {name: torch.ones(3), "deberta.embeddings.position_embeddings.weight": torch.ones(64, 32)}
    save_file(load_file(folder / "model.safetensors") | extra, folder / "model.safetensors")
    assert max_difference(hidden(load(folder), [5, 6, 7]), before) == 0


@pytest.mark.parametrize("pooling", ["bos", "mean", "late", None])
@pytest.mark.parametrize("layout", ["published", "transformers"])
def test_a_eurobert_classifier_pools_by_config_json(tmp_path, load, expected, layout, pooling):
    """Published files contain ``clf_pooling``, name the output layer ``out_proj`` and lack ``rope_parameters``."""
    folder = tiny("EuroBertForSequenceClassification", tmp_path, num_labels=3, classifier_pooling=pooling)
    prompts = prompts_of(LENGTHS)
    wanted = expected(folder, prompts)
    if layout == "published":
        config = json.loads((folder / "config.json").read_text())
        config |= {"clf_pooling": config.pop("classifier_pooling", None), "rope_scaling": None}
        write_config(folder, {key: value for key, value in config.items() if key != "clf_pooling" or value is not None})
        tensors = load_file(folder / "model.safetensors")
        renamed = {name.replace("classifier.", "out_proj."): tensor for name, tensor in tensors.items()}
        save_file(renamed, folder / "model.safetensors")
    else:
        name = "EuroBertForSequenceClassification"
        importlib.import_module("transformers")
        model_class = getattr(importlib.import_module("transformers"), name)
        model_class.from_pretrained(folder).save_pretrained(folder)
        assert "rope_parameters" in json.loads((folder / "config.json").read_text())
    assert max_difference(run_task(load(folder), prompts, "classify"), wanted) <= TOLERANCE


def test_the_default_epsilon_of_eurobert_is_that_of_transformers(tmp_path, load, hidden, expected):
    folder = tiny("EuroBertModel", tmp_path, rms_norm_eps=None)
    # Small embeddings make the epsilon visible.
    rewrite(folder, lambda tensors: {name: t * 0.01 if "embed" in name else t for name, t in tensors.items()})
    prompts = prompts_of((1, 9))
    assert max_difference(hidden(load(folder), prompts), expected(folder, prompts)) <= TOLERANCE


def test_a_late_classifier_classifies_each_token(tmp_path, load):
    """The logits of a text are the mean of the logits of its tokens."""
    llm = load(tiny("EuroBertForSequenceClassification", tmp_path, num_labels=3, classifier_pooling="late"))
    prompts = prompts_of((1, 9, 30))
    tokens = run_task(llm, prompts, "token_classify")
    assert [rows.shape for rows in tokens] == [(1, 3), (9, 3), (30, 3)]
    assert max_difference([rows.mean(0) for rows in tokens], run_task(llm, prompts, "classify")) <= TOLERANCE
