"""Text and token classifiers with a linear layer named ``score``."""

import numpy as np
import pytest
import torch
from model_kit import difference, load_module, run_task, softmax, step_prompts
from safetensors.torch import load_file

from millpond import CheckpointError
from millpond.nn import Linear
from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import change_config, rewrite

LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value if that is above 1


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2"])
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, load, logits, family, head):
    folder = tiny(f"{family}For{head}", tmp_path, num_labels=3)
    assert ("score.bias" in load_file(folder / "model.safetensors")) is (head == "TokenClassification")
    llm = load(folder)
    assert set(llm.model_config.tasks) == {"classify", "token_classify"}
    task = "classify" if head == "SequenceClassification" else "token_classify"
    prompts = step_prompts(LENGTHS)
    expected = logits(folder, prompts)
    together = run_task(llm, prompts, task)
    assert difference(together, expected) <= TOLERANCE
    assert difference([run_task(llm, prompt, task)[0] for prompt in prompts], together) <= TOLERANCE
    assert difference(run_task(llm, prompts, task, None), list(map(softmax, expected))) <= TOLERANCE


def test_classify_pools_the_last_token_by_default(tmp_path, load):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    prompts = step_prompts(FEW_LENGTHS)
    llm = load(folder)
    tokens = run_task(llm, prompts, "token_classify")
    assert difference(run_task(llm, prompts, "classify"), [rows[-1] for rows in tokens]) <= TOLERANCE
    mean = load(folder, pooler_config={"pooling_type": "MEAN"})
    assert difference(run_task(mean, prompts, "classify"), [rows.mean(0) for rows in tokens]) <= TOLERANCE


@pytest.mark.parametrize("padding", [3, 2, None])
@pytest.mark.parametrize("family", ["Qwen3", "Llama"])
def test_a_text_that_ends_with_padding_is_classified_by_the_token_before_it(tmp_path, load, logits, family, padding):
    """As in transformers, which identifies padding by its ID; EOS may have the same ID."""
    folder = tiny(f"{family}ForSequenceClassification", tmp_path, num_labels=3)
    change_config(folder, {"pad_token_id": padding, "eos_token_id": 2})
    prompts = [[5, 6, 2], [5, 3, 6, 3, 3], [2, 2], [3], [7, 2, 8], [9, 2, 3], [3, 3, 4]]
    llm, expected = load(folder), logits(folder, prompts)
    assert difference(run_task(llm, prompts, "classify"), expected) <= TOLERANCE
    assert difference([run_task(llm, prompt, "classify")[0] for prompt in prompts], expected) <= TOLERANCE
    if padding is not None:
        tokens = run_task(llm, prompts, "token_classify")
        assert difference([rows[-1] for rows in tokens], expected) > 1e-2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_16_bit_checkpoint_in_float32_equals_transformers(tmp_path, load, logits, dtype):
    folder = tiny("Qwen3ForSequenceClassification", tmp_path, num_labels=3, dtype=dtype)
    prompts = step_prompts((1, 20, 64))
    assert (
        difference(run_task(load(folder, dtype="float32"), prompts, "classify"), logits(folder, prompts)) <= TOLERANCE
    )


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_the_head_stays_in_float32(tmp_path, settings):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    head = load_module(folder, **settings).classifier
    assert isinstance(head, Linear)
    assert head.dtype == torch.float32
    rows = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    expected = rows @ load_file(folder / "model.safetensors")["score.weight"].T
    with torch.inference_mode():
        assert float((head(rows) - expected).abs().max()) <= TOLERANCE


def test_int8_is_near(tmp_path, load, logits):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3, hidden_size=64, intermediate_size=128)
    prompts = step_prompts((3, 20, 64))
    llm = load(folder, quantization="int8")
    assert 0 < difference(run_task(llm, prompts, "classify"), logits(folder, prompts)) <= 0.1


def test_batch_invariant_results_do_not_depend_on_the_batch(tmp_path, load):
    llm = load(tiny("Qwen3ForSequenceClassification", tmp_path, num_labels=3), batch_invariant=True)
    prompts = step_prompts(LENGTHS)
    alone = [run_task(llm, prompt, "classify")[0] for prompt in prompts]
    for order in (slice(None), slice(None, None, -1), slice(3, 9)):
        together = run_task(llm, prompts[order], "classify")
        assert all(np.array_equal(one, other) for one, other in zip(together, alone[order], strict=True))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_names_may_have_no_prefix(tmp_path, load, prefix):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    prompts = step_prompts(FEW_LENGTHS)
    before = run_task(load(folder), prompts, "classify")
    rewrite(folder, lambda tensors: {f"{prefix}{name.removeprefix('model.')}": t for name, t in tensors.items()})
    assert difference(run_task(load(folder), prompts, "classify"), before) == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("BertModel", {"convert": "classify"}),
        ("Qwen2Model", {"convert": "classify"}),
        ("Qwen2ForCausalLM", {"hf_overrides": {"architectures": ["Qwen2ForSequenceClassification"]}}),
    ],
)
def test_a_checkpoint_without_a_head_is_not_a_classifier(tmp_path, load, name, settings):
    with pytest.raises(CheckpointError, match=r"has none: missing \(1\): score\.weight \[2, 32\]"):
        load(tiny(name, tmp_path), **settings)


def test_a_head_whose_size_differs_from_config_json_is_refused(tmp_path, load):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    with pytest.raises(CheckpointError, match=r"'score\.weight': the checkpoint has \[3, 32\], .* \[4, 32\]"):
        load(folder, hf_overrides={"num_labels": 4})


def test_a_token_classifier_classifies_texts_on_request(tmp_path, load):
    llm = load(tiny("BertForTokenClassification", tmp_path, num_labels=3), convert="classify")
    assert set(llm.model_config.tasks) == {"classify", "token_classify"}
    prompts = step_prompts(FEW_LENGTHS)
    last = [rows[-1] for rows in run_task(llm, prompts, "token_classify")]
    assert difference(run_task(llm, prompts, "classify"), last) <= TOLERANCE
