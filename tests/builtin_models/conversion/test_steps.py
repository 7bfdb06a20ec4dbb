"""Causal language models as process reward models, from the logits of some tokens."""

import numpy as np
import pytest
import torch
from model_kit import difference, load_module, run_task, softmax, step_prompts
from safetensors.torch import load_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import rewrite

WORDS = vocabulary("decoder")
TAG = WORDS["so"]
NO, YES, BAD = WORDS["no"], WORDS["good"], WORDS["bird"]
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value if that is above 1
STEP = {"pooling_type": "STEP", "step_tag_id": TAG}


def steps(rows, prompts, tokens):
    return [row[np.array(ids) == TAG][:, list(tokens)] for row, ids in zip(rows, prompts, strict=True)]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(
    ("name", "tied"),
    [("MistralForCausalLM", False), ("LlamaForCausalLM", True), ("Qwen3ForCausalLM", True), ("GemmaForCausalLM", None)],
)
def test_a_causal_language_model_rates_steps_by_its_vocabulary(tmp_path, load, logits, name, tied, fixed):
    folder = tiny(name, tmp_path, **({} if tied is None else {"tie_word_embeddings": tied}))
    prompts = step_prompts(LENGTHS)
    rows = logits(folder, prompts)
    assert 0 < sum(ids.count(TAG) for ids in prompts) < sum(LENGTHS)
    assert not all(TAG in ids for ids in prompts)
    llm = load(folder, pooler_config={**STEP, **({"returned_token_ids": [YES, BAD]} if fixed else {})})
    assert llm.model_config.tasks == ("token_classify",)
    asked = None if fixed else PoolingParams(returned_token_ids=(YES, BAD))
    expected = list(map(softmax, steps(rows, prompts, (YES, BAD))))
    together = run_task(llm, prompts, "token_classify", asked)
    assert {array.shape[0] for array in together} >= {0, 1}
    assert difference(together, expected) <= TOLERANCE
    assert difference([run_task(llm, prompt, "token_classify", asked)[0] for prompt in prompts], together) <= TOLERANCE
    raw = run_task(llm, prompts, "token_classify", PoolingParams(returned_token_ids=(BAD, YES), use_activation=False))
    assert difference(raw, steps(rows, prompts, (BAD, YES))) <= TOLERANCE


def test_without_a_tag_every_token_is_rated(tmp_path, load, logits):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = step_prompts(FEW_LENGTHS)
    llm = load(folder, pooler_config={"pooling_type": "STEP", "returned_token_ids": [YES, NO, BAD]})
    expected = [softmax(rows[:, [YES, NO, BAD]]) for rows in logits(folder, prompts)]
    assert difference(run_task(llm, prompts, "token_classify", None), expected) <= TOLERANCE


def test_each_request_names_its_own_tokens_and_tag(tmp_path, load, logits):
    folder = tiny("LlamaForCausalLM", tmp_path)
    llm = load(folder, pooler_config='{"pooling_type": "STEP"}')
    (prompt,) = step_prompts([40])
    (rows,) = logits(folder, [prompt])
    other = prompt[3]
    params = [
        PoolingParams(returned_token_ids=(YES, NO), step_tag_id=TAG),
        PoolingParams(returned_token_ids=(NO, BAD, YES), step_tag_id=other),
        PoolingParams(returned_token_ids=(BAD,), use_activation=False),
    ]
    ids = np.array(prompt)
    expected = [
        softmax(rows[ids == TAG][:, [YES, NO]]),
        softmax(rows[ids == other][:, [NO, BAD, YES]]),
        rows[:, [BAD]],
    ]
    assert difference(run_task(llm, [prompt] * 3, "token_classify", params), expected) <= TOLERANCE


@pytest.mark.parametrize("tied", [True, False])
def test_only_rows_that_can_be_requested_are_kept(tmp_path, tied):
    folder = tiny("LlamaForCausalLM", tmp_path, tie_word_embeddings=tied)
    fixed = load_module(folder, pooler_config={**STEP, "returned_token_ids": [YES, NO]})
    assert [name for name, p in fixed.named_parameters() if len(p) == len(WORDS)] == ["embed_tokens.weight"]
    free = load_module(folder, pooler_config=STEP, dtype="bfloat16")
    assert free.tokens.weight.dtype == torch.bfloat16
    assert (free.tokens.weight.data_ptr() == free.embed_tokens.weight.data_ptr()) is tied


def test_in_16_bits_the_rows_are_computed_in_32(tmp_path):
    folder = tiny("LlamaForCausalLM", tmp_path)
    free = load_module(folder, pooler_config=STEP, dtype="bfloat16")
    rows = load_file(folder / "model.safetensors")["lm_head.weight"].bfloat16().float()[[YES, NO]]
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        assert torch.allclose(free.tokens(x, (YES, NO)), x @ rows.T, rtol=0, atol=1e-5)


def test_biases_of_the_vocabulary_are_added(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = step_prompts(FEW_LENGTHS)
    asked = PoolingParams(returned_token_ids=(YES, NO), use_activation=False)
    configs = (STEP, {**STEP, "returned_token_ids": [YES, NO]})
    plain = run_task(load(folder, pooler_config=STEP), prompts, "token_classify", asked)
    bias = torch.randn(len(WORDS), generator=torch.Generator().manual_seed(7))
    rewrite(folder, lambda tensors: tensors | {"lm_head.bias": bias})
    shifted = [rows + bias[[YES, NO]].numpy() for rows in plain]
    for config in configs:
        assert (
            difference(run_task(load(folder, pooler_config=config), prompts, "token_classify", asked), shifted)
            <= TOLERANCE
        )


def test_returned_token_ids_are_required(tmp_path, load):
    llm = load(tiny("LlamaForCausalLM", tmp_path), pooler_config=STEP)
    with pytest.raises(InvalidInputError, match="needs returned_token_ids") as caught:
        run_task(llm, step_prompts(FEW_LENGTHS), "token_classify", None)
    assert caught.value.parameter == "returned_token_ids"


def test_unknown_tokens_are_refused_by_name(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    llm = load(folder, pooler_config=STEP)
    with pytest.raises(InvalidInputError, match=rf"returned_token_ids=\[5, 9999\]: the vocabulary has {len(WORDS)}"):
        run_task(llm, [[5, TAG]], "token_classify", PoolingParams(returned_token_ids=(5, 9999)))
    fixed = load(folder, pooler_config={**STEP, "returned_token_ids": [YES, NO]})
    with pytest.raises(InvalidInputError, match=rf"allows only \[{YES}, {NO}\]") as caught:
        run_task(fixed, [[5, TAG]], "token_classify", PoolingParams(returned_token_ids=(YES, BAD)))
    assert caught.value.parameter == "returned_token_ids"
    with pytest.raises(CheckpointError, match="returned_token_ids: token ID 9999 is out of range"):
        load(folder, pooler_config={**STEP, "returned_token_ids": [YES, 9999]})


def test_an_invalid_request_does_not_affect_others(tmp_path, load):
    llm = load(tiny("LlamaForCausalLM", tmp_path), pooler_config=STEP)
    prompts = step_prompts((9, 9, 9), seed=4)
    good = PoolingParams(returned_token_ids=(YES, NO))
    params = [good, PoolingParams(), good]
    stats = llm._engine.stats  # noqa: SLF001  the only counter of batches
    batches = stats.batches
    outputs = llm.encode(prompts, params, pooling_task="token_classify", on_error="return", use_tqdm=False)
    assert [output.error is None for output in outputs] == [True, False, True]
    assert stats.batches == batches + 1  # the invalid request is rejected before the others are computed
    assert difference([outputs[2].outputs.array], run_task(llm, [prompts[2]], "token_classify", good)) <= TOLERANCE


def test_a_process_reward_model_needs_an_lm_head(tmp_path, load):
    folder = rewrite(
        tiny("LlamaForCausalLM", tmp_path),
        lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"},
    )
    for config in (STEP, {**STEP, "returned_token_ids": [YES, NO]}):
        with pytest.raises(CheckpointError, match=r"has no lm_head\.weight"):
            load(folder, pooler_config=config)


def test_process_reward_models_require_step_pooling(tmp_path, load):
    with pytest.raises(InvalidInputError, match="requires the pooling type STEP; got ALL") as caught:
        load(tiny("LlamaForCausalLM", tmp_path), convert="process_reward")
    assert caught.value.parameter == "pooler_config"
