"""Decoders compute the tokens with which all prompts of a call begin once, with the same results as without sharing."""

import asyncio

import numpy as np
import pytest
from decoder_kit import FAMILIES, TOLERANCE, VOCABULARY

from millpond import LLM, AsyncLLM, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import random_prompts, relative_error
from millpond.types.errors import EngineError

PREFIX, OTHER = random_prompts(VOCABULARY, (25, 18), first=4)
TAILS = random_prompts(VOCABULARY, (3, 1, 12, 12, 7, 30, 1, 22, 2, 12), seed=1, first=4)
PROMPTS = [[*PREFIX, *tail] for tail in TAILS]
BARE = PoolingParams(use_activation=False)
SHARED = (len(PROMPTS) - 1) * len(PREFIX)  # tokens that are not computed by one worker


def stats_of(llm):
    """Return the counters of the engine."""
    return llm._engine.stats  # noqa: SLF001  no public attribute has it


def model_of(llm):
    """Return the loaded model."""
    return llm._loaded.model  # noqa: SLF001  no public attribute has it


@pytest.fixture
def run():
    """Return a function that loads a model and returns token embeddings, embeddings, and the shared tokens of each."""

    def run(folder, prompts=PROMPTS, **arguments):
        outputs, shared = [], []
        with LLM(str(folder), convert="embed", num_workers=1, **arguments) as llm:
            stats = stats_of(llm)
            for task in ("token_embed", "embed"):
                before = stats.shared_tokens
                encoded = llm.encode(prompts, BARE, pooling_task=task, use_tqdm=False)
                outputs += [output.outputs.array for output in encoded]
                shared.append(stats.shared_tokens - before)
        return outputs, shared

    return run


@pytest.fixture
def check(run):
    """Return a function that compares results with those of a model that shares nothing."""

    def check(folder, shared=SHARED, **arguments):
        expected, none = run(folder, enable_prefix_caching=False)
        assert none == [0, 0]
        actual, tokens = run(folder, **arguments)
        assert relative_error(actual, expected) <= TOLERANCE
        assert tokens == [shared, shared]

    return check


# --- the same results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*(f"{family}Model" for family in FAMILIES), "GPT2Model", "Ministral3Model"])
@pytest.mark.parametrize("batch_tokens", [1024, 70])
def test_results_equal_those_without_sharing(tmp_path, check, name, batch_tokens):
    """With 70 tokens, a call needs several batches: later ones reuse the keys and values of the first."""
    check(tiny(name, tmp_path), max_num_batched_tokens=batch_tokens)


@pytest.mark.parametrize("kernel", ["native", "sdpa", "reference"])
def test_every_attention_kernel_computes_shared_prefixes(tmp_path, check, kernel):
    check(tiny("MistralModel", tmp_path), kernels={"attention": kernel}, max_num_batched_tokens=70)


def test_positions_beyond_the_training_length_are_scaled_in_every_batch(tmp_path, check):
    """Queries of Ministral 3 are scaled by their position; a batch of short tails has positions of long texts."""
    check(tiny("Ministral3Model", tmp_path, rope_parameters=LONG_TEXTS), max_num_batched_tokens=30)


LONG_TEXTS = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "llama_4_scaling_beta": 0.5,
}


@pytest.mark.parametrize("arguments", [{"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
def test_other_precisions_differ_by_rounding(tmp_path, run, arguments):
    folder = tiny("Qwen3Model", tmp_path)
    expected, _ = run(folder, enable_prefix_caching=False, **arguments)
    actual, tokens = run(folder, max_num_batched_tokens=70, **arguments)
    assert tokens == [SHARED, SHARED]
    assert relative_error(actual, expected) <= 0.02


def test_the_windows_of_a_large_call_share_one_prefix(tmp_path, run):
    prompts = [[*PREFIX, number % 50 + 5, number // 50 + 5] for number in range(150)]
    folder = tiny("Qwen3Model", tmp_path)
    expected, _ = run(folder, prompts, enable_prefix_caching=False)
    actual, tokens = run(folder, prompts)
    assert relative_error(actual, expected) <= TOLERANCE
    assert tokens == [149 * len(PREFIX)] * 2


def test_several_workers_compute_a_prefix_once_each_at_most(tmp_path, run):
    folder = tiny("Qwen3Model", tmp_path)
    expected, _ = run(folder, enable_prefix_caching=False)
    actual = []
    with LLM(str(folder), num_workers=3, max_num_batched_tokens=40) as llm:
        for task in ("token_embed", "embed"):
            outputs = llm.encode(PROMPTS, BARE, pooling_task=task, use_tqdm=False)
            actual += [output.outputs.array for output in outputs]
        assert stats_of(llm).shared_tokens >= 2 * (len(PROMPTS) - 3) * len(PREFIX)
    assert relative_error(actual, expected) <= TOLERANCE


# --- models that share nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Lfm2Model", {}),
        ("LlamaBidirectionalModel", {}),
        ("LlamaModel", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 64}),
        ("Qwen3Model", {"is_causal": False}),
        ("BertModel", {}),
    ],
)
def test_models_whose_tokens_depend_on_later_ones_or_the_length_share_nothing(tmp_path, check, name, config):
    check(tiny(name, tmp_path, **config), shared=0)


def test_batch_invariant_models_share_nothing(tmp_path, run):
    assert run(tiny("Qwen3Model", tmp_path), batch_invariant=True)[1] == [0, 0]


# --- several calls, failures --------------------------------------------------------------------------------------


def test_calls_in_one_batch_share_nothing_with_each_other(tmp_path, run):
    folder = tiny("Qwen3Model", tmp_path)
    calls = [PROMPTS, PROMPTS[::-1], [[*OTHER, *tail] for tail in TAILS], [TAILS[0]], TAILS]

    async def main():
        async with AsyncLLM(str(folder), num_workers=1) as llm:
            outputs = await asyncio.gather(
                *[llm.encode(call, BARE, pooling_task="token_embed", priority=i % 2) for i, call in enumerate(calls)]
            )
            return outputs, llm.engine.engine.stats.shared_tokens

    answers, shared = asyncio.run(main())
    for call, outputs in zip(calls, answers, strict=True):
        expected, _ = run(folder, call, enable_prefix_caching=False)
        assert relative_error([output.outputs.array for output in outputs], expected[: len(call)]) <= TOLERANCE
    assert shared > 0


def test_a_failing_prompt_does_not_affect_the_others(tmp_path, run):
    folder = tiny("Qwen3Model", tmp_path)
    expected, _ = run(folder, enable_prefix_caching=False)
    bad = VOCABULARY - 1
    assert not any(bad in prompt for prompt in PROMPTS)

    def fail(_, arguments):
        if (arguments[0].input_ids == bad).any():
            raise RuntimeError("this token")

    with LLM(str(folder), num_workers=1) as llm:
        model_of(llm).register_forward_pre_hook(fail)
        prompts = [*PROMPTS[:4], [*PREFIX, bad], *PROMPTS[4:]]
        outputs = llm.encode(prompts, BARE, pooling_task="token_embed", use_tqdm=False, on_error="return")
        assert stats_of(llm).shared_tokens > 0
    failed = outputs.pop(4)
    assert isinstance(failed.error, EngineError)
    assert relative_error([output.outputs.array for output in outputs], expected[: len(PROMPTS)]) <= TOLERANCE


# --- rerank -----------------------------------------------------------------------------------------------------------


def test_a_rerank_computes_instruction_and_query_once(tmp_path):
    """The template of Qwen3-Reranker: system message, instruction and query precede the document."""
    folder = tiny("Qwen3ForCausalLM", tmp_path / "Qwen3-Reranker-0.6B", max_position_embeddings=1024)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text(encoding="utf-8").replace('"good"', '"yes"'), encoding="utf-8")
    documents = ["the old mill is by the river", "a cat", "the boats came home while rain fell", "a mat", "the cat sat"]
    outputs, computed = {}, {}
    for enabled in (True, False):
        rows = []
        with LLM(str(folder), num_workers=1, enable_prefix_caching=enabled) as llm:
            model_of(llm).register_forward_pre_hook(lambda _, inputs, rows=rows: rows.append(inputs[0].num_tokens))
            outputs[enabled] = llm.score("where is the old mill", documents, use_tqdm=False)
        computed[enabled] = sum(rows)
    scores, expected = ([output.outputs.score for output in outputs[enabled]] for enabled in (True, False))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    ids = [output.prompt_token_ids for output in outputs[True]]
    shared = next(index for index, tokens in enumerate(zip(*ids, strict=False)) if len(set(tokens)) > 1)
    assert computed[False] == sum(map(len, ids))
    assert computed[False] - computed[True] == (len(documents) - 1) * shared > 100
