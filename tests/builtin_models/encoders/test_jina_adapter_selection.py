"""Adapters of jina-embeddings-v3: selected for a model or for each prompt, in files of different forms."""

import json
import re

import numpy as np
import pytest
import torch
from jina_kit import FEW_LENGTHS, LENGTHS, jina, prompts_of

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond.testing.comparisons import relative_error, rewrite
from millpond_models.testing.encoders import JINA

TASKS = JINA["lora_adaptations"]


# --- adapters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "task"), [*enumerate(TASKS)])
def test_an_adapter_is_selected_by_name_or_index(tmp_path, load, hidden, jina_reference, index, task):
    folder = jina(tmp_path)
    prompts = prompts_of(FEW_LENGTHS)
    expected = jina_reference(folder, prompts, index)
    by_name = hidden(load(folder, hf_overrides={"lora_adaptation": task}), prompts)
    assert relative_error(by_name, expected) <= 1e-5
    for choice in (index, index - len(TASKS)):
        assert relative_error(hidden(load(folder, hf_overrides={"lora_adaptation": choice}), prompts), by_name) == 0
    default = hidden(load(folder), prompts)
    assert (relative_error(default, by_name) == 0) is (task == "text-matching")


def test_config_json_may_select_the_adapter(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    chosen = load(jina(tmp_path / "a", lora_adaptation="separation"))
    asked = load(jina(tmp_path / "b"), hf_overrides={"lora_adaptation": "separation"})
    assert relative_error(hidden(chosen, prompts), hidden(asked, prompts)) == 0


@pytest.mark.parametrize("shards", [2, 7])
def test_an_adapter_may_be_split_into_several_files(tmp_path, load, hidden, shards):
    prompts = prompts_of(FEW_LENGTHS)
    whole, sharded = jina(tmp_path / "whole"), jina(tmp_path / "sharded", shards=shards)
    assert relative_error(hidden(load(sharded), prompts), hidden(load(whole), prompts)) == 0


def test_a_merged_weight_is_rounded_once(tmp_path, load, hidden, jina_reference):
    """The published weights are bfloat16: merging in bfloat16 would round small updates twice."""
    folder = jina(tmp_path, dtype="bfloat16", lora_alpha=0.01)
    prompts = prompts_of(FEW_LENGTHS)
    rewrite(folder, lambda tensors: {name: tensor.float() for name, tensor in tensors.items()})
    expected = jina_reference(folder, prompts)
    rewrite(folder, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    assert relative_error(hidden(load(folder, dtype="float32"), prompts), expected) <= 1e-5


@pytest.mark.parametrize("asked", ["retrieval", 5, -6, True, 1.0, ["separation"]])
def test_an_unknown_adapter_is_refused(tmp_path, load, asked):
    message = rf"lora_adaptation {re.escape(repr(asked))}\. Available: 'retrieval\.query', .*'text-matching'.* 0 to 4"
    with pytest.raises(CheckpointError, match=message):
        load(jina(tmp_path), hf_overrides={"lora_adaptation": asked})


@pytest.mark.parametrize("lacking", ["original", "0.lora_A", "0.lora_B"])
def test_a_part_that_is_missing_is_named(tmp_path, load, lacking):
    weight = "encoder.layers.1.mixer.Wqkv.parametrizations.weight"
    folder = jina(tmp_path)
    rewrite(folder, lambda tensors: {name: tensors[name] for name in tensors if name != f"{weight}.{lacking}"})
    with pytest.raises(CheckpointError, match=rf"{re.escape(weight)} is incomplete: .*missing: {re.escape(lacking)}$"):
        load(folder)


@pytest.mark.parametrize("shape", [(5, 4, 31), (5, 3, 32), (2, 4, 32), (4, 32)], ids=str)
def test_an_adapter_of_another_shape_is_refused(tmp_path, load, shape):
    name = "encoder.layers.0.mlp.fc1.parametrizations.weight.0.lora_A"
    folder = rewrite(jina(tmp_path), lambda tensors: tensors | {name: torch.ones(shape)})
    with pytest.raises(
        CheckpointError, match=r"adapters of encoder\.layers\.0\.mlp\.fc1 do not fit, with lora_rank 4: "
    ):
        load(folder, hf_overrides={"lora_adaptation": 0})


@pytest.mark.parametrize("rank", [0, 2])
def test_adapters_of_another_rank_than_stated_are_refused(tmp_path, load, rank):
    with pytest.raises(CheckpointError, match=f"do not fit, with lora_rank {rank}: "):
        load(jina(tmp_path), hf_overrides={"lora_rank": rank})


# --- an adapter for each prompt -------------------------------------------------------------------------------------


def each(llm, prompts, names, task="token_embed"):
    """Return the results of prompts in one call, with one adapter per prompt."""
    params = [PoolingParams(use_activation=False, adapter=name) for name in names]
    return [it.outputs.array for it in llm.encode(prompts, pooling_task=task, pooling_params=params, use_tqdm=False)]


@pytest.mark.parametrize(
    ("loaded", "settings"),
    [
        (None, {}),
        ("retrieval.query", {}),
        (None, {"max_num_batched_tokens": 40, "max_num_seqs": 3}),
        (None, {"batch_invariant": True}),
    ],
    ids=str,
)
def test_each_prompt_of_a_batch_has_its_own_adapter(tmp_path, load, hidden, jina_reference, loaded, settings):
    folder = jina(tmp_path)
    prompts = prompts_of(LENGTHS)
    default = loaded or TASKS[-1]
    names = [(*TASKS, None)[index % 6] for index in range(len(prompts))]
    by_task = {name: jina_reference(folder, prompts, index) for index, name in enumerate(TASKS)}
    expected = [by_task[name or default][index] for index, name in enumerate(names)]
    llm = load(folder, hf_overrides={} if loaded is None else {"lora_adaptation": loaded}, **settings)
    assert relative_error(each(llm, prompts, names), expected) <= 1e-5
    assert (
        relative_error([each(llm, [ids], [name])[0] for ids, name in zip(prompts, names, strict=True)], expected)
        <= 1e-5
    )
    assert relative_error(hidden(llm, prompts), by_task[default]) <= 1e-5
    apart = [np.abs(one - other).max() for one, other in zip(expected, by_task[default], strict=True)]
    assert min(difference for difference, name in zip(apart, names, strict=True) if name not in (None, default)) > 1e-3


def test_equal_prompts_with_other_adapters_are_not_computed_once(tmp_path, load, jina_reference):
    folder, ids = jina(tmp_path), prompts_of((9,))[0]
    llm = load(folder)
    actual = each(llm, [ids] * 10, [*TASKS, *TASKS])
    expected = [jina_reference(folder, [ids], index)[0] for index in range(5)]
    assert relative_error(actual, expected * 2) <= 1e-5


@pytest.mark.parametrize(("settings", "far"), [({"dtype": "bfloat16"}, 3e-2), ({"quantization": "int8"}, 0.1)], ids=str)
def test_adapters_work_with_other_dtypes(tmp_path, load, settings, far):
    folder = jina(tmp_path, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    names = [TASKS[index % 5] for index in range(len(prompts))]
    exact = each(load(folder), prompts, names)
    assert 0 < relative_error(each(load(folder, **settings), prompts, names), exact) <= far


def test_batch_invariant_results_do_not_depend_on_other_adapters(tmp_path, load):
    prompts = prompts_of(LENGTHS)
    names = [TASKS[index % 5] for index in range(len(prompts))]
    llm = load(jina(tmp_path), batch_invariant=True)
    together = each(llm, prompts, names)
    assert all(
        np.array_equal(each(llm, [ids], [name])[0], rows)
        for ids, name, rows in zip(prompts, names, together, strict=True)
    )


def test_a_request_selects_the_adapter_and_its_prompt(tmp_path, load, jina_reference):
    folder = jina(tmp_path)
    llm = load(folder, pooler_config={"pooling_type": "MEAN"})
    assert llm.model_config.prompting.adapters == tuple(TASKS)
    text = "the old mill by the pond"
    instructions = JINA["task_instructions"]
    for name in TASKS:
        (plain,) = llm.embed([instructions[name] + text], use_tqdm=False, prompt="", adapter=name)
        rows = jina_reference(folder, [plain.prompt_token_ids], TASKS.index(name))[0]
        expected = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
        for settings in (
            {"task": name},
            {"adapter": name},
            {"prompt_name": name},
            {"adapter": name, "prompt_name": name},
        ):
            (output,) = llm.embed([text], use_tqdm=False, **settings)
            assert output.prompt_token_ids == plain.prompt_token_ids
            np.testing.assert_allclose(output.outputs.array, expected, rtol=0, atol=1e-5)
    query, other = (
        llm.embed([text], use_tqdm=False, prompt=prompt, adapter="retrieval.query")[0] for prompt in ("", "as")
    )
    assert len(other.prompt_token_ids) > len(query.prompt_token_ids)


def test_prompt_and_adapter_are_independent(tmp_path, load, jina_reference):
    folder = jina(tmp_path)
    llm = load(folder, pooler_config={"pooling_type": "MEAN"})
    text = "the old mill"
    (output,) = llm.embed([text], use_tqdm=False, prompt_name="retrieval.passage", adapter="separation")
    for ids in (text, output.prompt_token_ids):
        (again,) = llm.embed(
            [ids], use_tqdm=False, adapter="separation", **({"prompt_name": "retrieval.passage"} if ids is text else {})
        )
        rows = jina_reference(folder, [output.prompt_token_ids], TASKS.index("separation"))[0]
        np.testing.assert_allclose(
            again.outputs.array, rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)), rtol=0, atol=1e-5
        )


def test_several_results_of_one_forward_pass_have_one_adapter(tmp_path, load):
    llm = load(jina(tmp_path), pooler_config={"pooling_type": "MEAN"})
    ids = prompts_of((9,))
    both = [{"task": "embed"}, {"task": "token_embed"}]
    (output,) = llm.represent(ids, both, adapter="separation", use_tqdm=False)
    vector = llm.embed(ids, adapter="separation", use_tqdm=False)[0].outputs.array
    np.testing.assert_allclose(output.outputs.results[0].array, vector, rtol=0, atol=1e-6)
    with pytest.raises(InvalidInputError, match="one forward pass"):
        llm.represent(ids, [{"task": "embed", "adapter": "separation"}], use_tqdm=False)


def test_an_unknown_adapter_is_refused_in_requests(tmp_path, load):
    llm = load(jina(tmp_path / "a"))
    with pytest.raises(InvalidInputError, match=r"no adapter of that name\. Available: 'retrieval\.query', "):
        llm.embed(["a"], task="retrieval", use_tqdm=False)
    with pytest.raises(InvalidInputError, match="pass one of them"):
        llm.embed(["a"], task="separation", adapter="classification", use_tqdm=False)
    with pytest.raises(InvalidInputError, match=r"no adapter of that name\. Available: none"):
        load(tiny("XLMRobertaModel", tmp_path / "b")).embed(["a"], adapter="separation", use_tqdm=False)
    named = tiny("XLMRobertaModel", tmp_path / "c", lora_adaptations=["separation"])
    with pytest.raises(InvalidInputError, match="the checkpoint's weights contain no adapters"):
        load(named).embed(["a"], adapter="separation", use_tqdm=False)


def test_the_default_prompt_selects_its_adapter(tmp_path, load):
    folder = jina(tmp_path)
    write_sentence_transformers(folder, pooling="mean", layout="old")
    settings = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    settings |= {"default_prompt_name": "retrieval.query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    plain, prompted = (load(folder, apply_default_prompt=apply) for apply in (False, True))
    (expected,) = plain.embed(["a mill"], task="retrieval.query", use_tqdm=False)
    (output,) = prompted.embed(["a mill"], use_tqdm=False)
    np.testing.assert_allclose(output.outputs.array, expected.outputs.array, rtol=0, atol=1e-6)
    (other,) = plain.embed(["a mill"], use_tqdm=False)
    assert np.abs(other.outputs.array - expected.outputs.array).max() > 1e-3
