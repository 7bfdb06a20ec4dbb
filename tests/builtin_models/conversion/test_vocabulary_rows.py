"""Causal language models as classifiers whose classes are rows of the LM head."""

import json

import numpy as np
import pytest
import torch
from model_kit import difference, load_module, run_task, softmax, step_prompts
from safetensors.torch import load_file

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import rewrite

WORDS = vocabulary("decoder")
NO, YES, BAD = WORDS["no"], WORDS["good"], WORDS["bird"]
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value if that is above 1


def change_config(folder, **changes):
    path = folder / "config.json"
    merged = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))
    return folder


def as_classifier(name, **more):
    return {"architectures": [name.replace("ForCausalLM", "ForSequenceClassification")], **more}


TWO_WAY = {"classifier_from_token": ["no", "good"], "method": "from_2_way_softmax"}


@pytest.mark.parametrize(
    ("name", "tied"),
    [
        ("LlamaForCausalLM", False),
        ("LlamaForCausalLM", True),
        ("Qwen2ForCausalLM", True),
        ("Qwen3ForCausalLM", False),
        ("Qwen3ForCausalLM", True),
        ("GemmaForCausalLM", True),
    ],
)
def test_rows_of_the_vocabulary_are_the_classifier(tmp_path, load, logits, name, tied):
    folder = tiny(name, tmp_path, tie_word_embeddings=tied)
    prompts = step_prompts(LENGTHS)
    last = [rows[-1] for rows in logits(folder, prompts)]
    several = load(
        folder,
        hf_overrides=as_classifier(name, classifier_from_token_ids=[YES, NO, BAD], method="no_post_processing"),
    )
    assert several.model_config.classification.num_labels == 3
    assert difference(run_task(several, prompts, "classify"), [rows[[YES, NO, BAD]] for rows in last]) <= TOLERANCE
    two = load(folder, hf_overrides=as_classifier(name, **TWO_WAY))
    assert "score" in two.supported_tasks
    expected = [softmax(rows[[NO, YES]])[1:] for rows in last]
    assert difference(run_task(two, prompts, "classify", None), expected) <= TOLERANCE
    assert difference(run_task(two, prompts, "classify"), [rows[[YES]] - rows[[NO]] for rows in last]) <= 2 * TOLERANCE


def test_one_classifier_token_is_a_score(tmp_path, load, logits):
    folder = tiny("GemmaForCausalLM", tmp_path)
    name = "GemmaForCausalLM"
    llm = load(folder, hf_overrides=as_classifier(name, classifier_from_token=["good"], method="no_post_processing"))
    prompts = step_prompts(FEW_LENGTHS)
    expected = [1 / (1 + np.exp(-rows[-1][[YES]])) for rows in logits(folder, prompts)]
    assert difference(run_task(llm, prompts, "classify", None), expected) <= TOLERANCE


def test_the_original_reranker_of_qwen3_needs_no_method(tmp_path, load):
    folder = tiny("Qwen3ForCausalLM", tmp_path)
    prompts = step_prompts(FEW_LENGTHS)
    settings = {"classifier_from_token": ["no", "good"], "is_original_qwen3_reranker": True}
    original = load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **settings))
    two_way = load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY))
    assert original.model_config.classification.num_labels == 1
    assert difference(run_task(original, prompts, "classify"), run_task(two_way, prompts, "classify")) == 0


@pytest.mark.parametrize("stated", [None, True])
def test_embeddings_replace_a_missing_lm_head(tmp_path, load, stated):
    folder = tiny("Qwen3ForCausalLM", tmp_path)  # its embeddings are tied
    prompts = step_prompts(FEW_LENGTHS)
    expected = run_task(load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY)), prompts, "classify")
    change_config(folder, tie_word_embeddings=stated)
    assert (
        difference(
            run_task(load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY)), prompts, "classify"),
            expected,
        )
        == 0
    )


def test_the_lm_head_takes_precedence_over_untied_embeddings(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = step_prompts(FEW_LENGTHS)
    from_head = run_task(load(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY)), prompts, "classify")
    for stated, same in ((None, True), (True, False)):
        change_config(folder, tie_word_embeddings=stated)
        again = run_task(load(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY)), prompts, "classify")
        assert (difference(again, from_head) == 0) is same


def test_rows_of_16_bits_are_subtracted_in_32(tmp_path):
    folder = tiny("LlamaForCausalLM", tmp_path, dtype="bfloat16")
    head = load_module(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY)).classifier
    rows = load_file(folder / "model.safetensors")["lm_head.weight"].float()
    with torch.inference_mode():
        found_row = head(torch.eye(32))[:, 0]
    assert torch.allclose(found_row, rows[YES] - rows[NO], rtol=0, atol=1e-7)
    assert not torch.equal(rows[YES] - rows[NO], (rows[YES] - rows[NO]).bfloat16().float())


def test_the_head_is_not_kept(tmp_path):
    folder = tiny("LlamaForCausalLM", tmp_path)
    model = load_module(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY))
    tables = [name for name, parameter in model.named_parameters() if len(parameter) == len(WORDS)]
    assert tables == ["embed_tokens.weight"]


def test_biases_of_the_head_are_those_of_the_classifier(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = step_prompts(FEW_LENGTHS)
    settings = {"hf_overrides": as_classifier("LlamaForCausalLM", **TWO_WAY)}
    plain = run_task(load(folder, **settings), prompts, "classify")
    bias = torch.randn(len(WORDS), generator=torch.Generator().manual_seed(7))
    rewrite(folder, lambda tensors: tensors | {"lm_head.bias": bias})
    shifted = [rows + float(bias[YES] - bias[NO]) for rows in plain]
    assert difference(run_task(load(folder, **settings), prompts, "classify"), shifted) <= TOLERANCE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classifier_from_token": ["no", "yonder"]}, r"classifier_from_token: 'yonder' must be a single .* into 6"),
        ({"classifier_from_token": ["no", "good man"]}, r"'good man' must be a single token.* into 2"),
        ({"classifier_from_token": ["no", "ß"]}, "'ß' must be a single token"),
        ({"classifier_from_token": ["no", 7]}, r"classifier_from_token must be a list of tokens as text; got 7"),
        ({"classifier_from_token": "no"}, r"classifier_from_token must be a list of tokens; got 'no'"),
        ({"classifier_from_token": []}, r"classifier_from_token must be a list of tokens; got \[\]"),
        ({"classifier_from_token_ids": ["no"]}, r"classifier_from_token_ids must be a list of token IDs; got 'no'"),
        ({"classifier_from_token_ids": [-1]}, r"classifier_from_token_ids must be a list of token IDs; got -1"),
        ({"classifier_from_token_ids": [True]}, r"classifier_from_token_ids must be a list of token IDs; got True"),
        ({"classifier_from_token_ids": [5, 9999]}, "token ID 9999 is out of range"),
        ({"classifier_from_token": ["no", "good"], "method": "sum"}, r"unknown method 'sum'.*from_2_way_softmax"),
        ({"classifier_from_token": ["no"], "method": "from_2_way_softmax"}, "requires two tokens.*got 1"),
        ({"classifier_from_token": ["no"], "is_original_qwen3_reranker": True}, "reranker requires two tokens.*got 1"),
        ({**TWO_WAY, "tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false; got 'yes'"),
        ({**TWO_WAY, "tie_word_embeddings": False}, "has no lm_head.weight"),
    ],
    ids=str,
)
def test_invalid_classifier_tokens_are_refused_by_name(tmp_path, load, settings, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny("Qwen3ForCausalLM", tmp_path), hf_overrides=as_classifier("Qwen3ForCausalLM", **settings))


@pytest.mark.parametrize("shape", [(), (0, 32), (32,), (len(WORDS), 31)], ids=str)
def test_a_misshapen_head_is_refused(tmp_path, load, shape):
    folder = tiny("LlamaForCausalLM", tmp_path)
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": torch.ones(shape)})
    wanted = {"hf_overrides": as_classifier("LlamaForCausalLM", classifier_from_token_ids=[0, 40])}
    steps = ({}, {"returned_token_ids": [0, 40]})
    for settings in (wanted, *({"pooler_config": {"pooling_type": "STEP", **more}} for more in steps)):
        with pytest.raises(CheckpointError, match=r"Shape mismatch|is out of range"):
            load(folder, **settings)


def test_classifier_tokens_as_text_need_a_tokenizer(tmp_path, load):
    folder = tiny("Qwen3ForCausalLM", tmp_path)
    with pytest.raises(CheckpointError, match=r"needs the model's tokenizer.*classifier_from_token_ids"):
        load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY), skip_tokenizer_init=True)


def test_a_published_reranker_is_known_by_its_name(tmp_path, load, logits):
    folder = tiny("Qwen3ForCausalLM", tmp_path / "Qwen3-Reranker-0.6B")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"good"', '"yes"'))
    prompts = step_prompts(FEW_LENGTHS)
    expected = [softmax(rows[-1][[NO, YES]])[1:] for rows in logits(folder, prompts)]
    assert difference(run_task(load(folder), prompts, "classify", None), expected) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "written", "settings"),
    [
        ("Qwen3-Reranker-0.6B", {}, {"classifier_from_token_ids": [NO, YES]}),  # known as "no" and "yes"
        ("a", {**TWO_WAY, "classifier_from_token": ["no", "bird"]}, {"classifier_from_token_ids": [NO, YES]}),
        ("b", {"classifier_from_token_ids": [NO, BAD]}, TWO_WAY),
    ],
)
def test_classifier_tokens_in_arguments_take_precedence(tmp_path, load, logits, name, written, settings):
    folder = tiny("Qwen3ForCausalLM", tmp_path / name, **written)
    prompts = step_prompts(FEW_LENGTHS)
    expected = [softmax(rows[-1][[NO, YES]])[1:] for rows in logits(folder, prompts)]
    llm = load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **settings))
    assert difference(run_task(llm, prompts, "classify", None), expected) <= TOLERANCE
