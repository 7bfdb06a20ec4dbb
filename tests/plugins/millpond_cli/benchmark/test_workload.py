"""The workload of ``millpond bench``, and its runs with different settings."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from millpond import LLM, EngineError
from millpond.loading.arguments import read_arguments
from millpond.loading.build import load_model
from millpond.testing import checkpoints
from millpond_cli.benchmark.workload import BenchmarkModel, draw_workload
from millpond_command import cli


@given(
    num_tokens=st.integers(1, 3000),
    vocab_size=st.integers(1, 10**6),
    longest=st.integers(1, 600),
    seed=st.integers(0, 99),
)
def test_a_workload_has_the_requested_number_of_tokens(num_tokens, vocab_size, longest, seed):
    workload = draw_workload(num_tokens, vocab_size=vocab_size, max_prompt_tokens=longest, seed=seed)
    assert workload.num_tokens == sum(map(len, workload.prompts)) == num_tokens
    assert all(1 <= len(prompt) <= min(longest, 256) for prompt in workload.prompts)
    assert all(0 <= token < vocab_size for prompt in workload.prompts for token in prompt)
    again = draw_workload(num_tokens, vocab_size=vocab_size, max_prompt_tokens=longest, seed=seed)
    assert again.prompts == workload.prompts


def test_lengths_are_mixed_as_those_of_texts_are():
    lengths = [len(prompt) for prompt in draw_workload(200_000, vocab_size=10, max_prompt_tokens=512).prompts]
    assert np.median(lengths) == pytest.approx(45, rel=0.1)
    assert np.mean(lengths) == pytest.approx(58, rel=0.1)
    assert (min(lengths), max(lengths)) == (5, 256)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def bench(model):
    bench = BenchmarkModel(load_model(model, read_arguments({"device": "cpu"})))
    yield bench
    bench.close()


def test_a_run_serves_the_workload_by_the_settings(bench, model, monkeypatch):
    workload = bench.draw_workload(500)
    sizes = []
    runner = bench._runner(2)  # noqa: SLF001
    compute = runner.run
    monkeypatch.setattr(
        runner, "run", lambda batch: (sizes.append(sum(it.num_tokens for it in batch)), compute(batch))[1]
    )
    sample = bench.run(workload, max_num_batched_tokens=100, num_workers=2)
    assert sample.tokens == sum(sizes) == 500
    assert max(sizes) <= 100
    assert sample.wall > 0
    assert runner.num_workers == 2
    with LLM(model, device="cpu") as llm:
        longest_first = sorted(workload.prompts, key=lambda prompt: -len(prompt))
        expected = [output.outputs.array for output in llm.embed([*map(list, longest_first)])]
    vectors = [request.results[0] for request in bench._prepared(workload)]  # noqa: SLF001
    for pooled_vectors, wanted in zip(vectors, expected, strict=True):
        assert np.abs(pooled_vectors - wanted).max() < 1e-5


def test_the_error_for_an_unknown_vocabulary_size_names_the_option(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "mute", tokenizer=False)
    loaded = load_model(str(folder), read_arguments({"device": "cpu"}))
    loaded.context.model.hf_config._values.pop("vocab_size")  # noqa: SLF001
    bench = BenchmarkModel(loaded)
    with pytest.raises(cli.CommandError, match="specifies the size of the vocabulary") as caught:
        bench.draw_workload(100)
    assert "--hf-overrides" in caught.value.hint
    bench.close()


@pytest.mark.parametrize(
    ("error", "expected", "reason"),
    [
        (torch.OutOfMemoryError("no memory"), cli.CommandError, "batches of 2048 tokens do not fit into memory"),
        (ValueError("no idea"), EngineError, "ValueError: no idea"),
    ],
    ids=["memory", "anything"],
)
def test_a_run_that_fails_is_no_run(bench, monkeypatch, error, expected, reason):
    """A batch that is too large for memory is halved by the engine: it would be measured as another budget."""
    forward = bench.loaded.model.forward

    def fails(batch):
        if isinstance(error, ValueError) or batch.num_tokens > 600:
            raise error
        return forward(batch)

    monkeypatch.setattr(bench.loaded.model, "forward", fails)
    with pytest.raises(expected, match=reason):
        bench.run(bench.draw_workload(2000), max_num_batched_tokens=2048, num_workers=1)
