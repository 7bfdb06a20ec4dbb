"""jina-embeddings-v3, XLMRobertaModel with rotary embeddings: equal to transformers with merged adapters."""

import numpy as np
import pytest
import torch
from jina_kit import FEW_LENGTHS, LENGTHS, jina, prompts_of
from model_kit import min_embedding_cosine

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond.testing.comparisons import relative_error, rewrite
from millpond_models.testing.encoders import JINA

# --- equal to transformers ------------------------------------------------------------------------------------------


def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, assert_equal_in_any_batch, jina_reference):
    folder = jina(tmp_path)
    prompts = prompts_of(LENGTHS)
    assert_equal_in_any_batch(folder, prompts, jina_reference(folder, prompts))


@pytest.mark.parametrize(
    "change",
    [
        {"lora_alpha": 8},
        {"lora_rank": 3, "lora_alpha": 2},
        {"rotary_emb_base": 500.0},
        {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 7},
        {"layer_norm_eps": 0.1},
        {"type_vocab_size": 2},
        {"lora_adaptations": None},
    ],
    ids=str,
)
def test_the_shape_in_config_json_is_used(tmp_path, load, hidden, jina_reference, change):
    folder = jina(tmp_path, **change)
    assert (
        relative_error(hidden(load(folder), prompts_of(FEW_LENGTHS)), jina_reference(folder, prompts_of(FEW_LENGTHS)))
        <= 1e-5
    )


def test_rope_theta_takes_precedence_over_rotary_emb_base(tmp_path, load, hidden):
    folder = jina(tmp_path, lora_adaptations=None)
    prompts = prompts_of(FEW_LENGTHS)
    actual = hidden(load(folder, hf_overrides={"rope_theta": 500.0}), prompts)
    assert relative_error(actual, hidden(load(folder, hf_overrides={"rotary_emb_base": 500.0}), prompts)) == 0
    assert relative_error(actual, hidden(load(folder), prompts)) > 1e-3


def test_bfloat16_is_near_transformers(tmp_path, load, hidden, jina_reference):
    folder = jina(tmp_path)
    prompts = prompts_of(LENGTHS)
    exact = jina_reference(folder, prompts)
    assert 0 < relative_error(hidden(load(folder, dtype="bfloat16"), prompts), exact) <= 2e-2


def test_int8_is_near_float32(tmp_path, load):
    folder = jina(tmp_path, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    assert 0.99 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7


@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
def test_deterministic_results_are_bit_identical_in_every_batch(tmp_path, load, hidden, settings):
    folder = jina(tmp_path, intermediate_size=50)
    prompts = prompts_of(LENGTHS)
    together = hidden(load(folder, batch_invariant=True, **settings), prompts)
    small = load(folder, batch_invariant=True, max_num_batched_tokens=40, max_num_seqs=3, **settings)
    assert all(map(np.array_equal, hidden(small, prompts), together))
    assert all(np.array_equal(hidden(small, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))


# --- served as it is published --------------------------------------------------------------------------------------


def test_the_published_layout_is_supported(tmp_path, load, hidden):
    folder = jina(tmp_path, prefix="roberta.", tokenizer=True)
    write_sentence_transformers(folder, pooling="mean", layout="old")
    llm = load(folder, runner="pooling", trust_remote_code=True)
    text = "the old mill by the pond"
    rows = hidden(llm, [text])[0]
    mean = rows.mean(axis=0)
    (whole,) = llm.embed([text], use_tqdm=False)
    np.testing.assert_allclose(whole.outputs.array, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)
    (cut,) = llm.embed([text], pooling_params=PoolingParams(dimensions=16), use_tqdm=False)
    np.testing.assert_allclose(cut.outputs.array, mean[:16] / np.linalg.norm(mean[:16]), rtol=0, atol=1e-6)
    with pytest.raises(InvalidInputError, match="12"):
        llm.embed([text], pooling_params=PoolingParams(dimensions=12), use_tqdm=False)
    assert llm.model_config.prompting.prompts["retrieval.passage"] == JINA["task_instructions"]["retrieval.passage"]
    assert llm.model_config.max_model_len == 64


# --- what else has these names --------------------------------------------------------------------------------------


def with_flash_names(tensors):
    """Return the tensors of a RoBERTa by the names of Jina's implementation."""
    renamed = {}
    for name, tensor in tensors.items():
        new = name.replace("encoder.layer.", "encoder.layers.").replace("attention.output.dense", "mixer.out_proj")
        new = new.replace("attention.output.LayerNorm", "norm1").replace("output.LayerNorm", "norm2")
        new = new.replace("intermediate.dense", "mlp.fc1").replace("output.dense", "mlp.fc2")
        renamed[new.replace("embeddings.LayerNorm", "emb_ln")] = tensor
    for query in [name for name in renamed if ".attention.self.query." in name]:
        parts = [renamed.pop(query.replace("query", part)) for part in ("query", "key", "value")]
        renamed[query.replace("attention.self.query", "mixer.Wqkv")] = torch.cat(parts)
    return renamed


def test_flash_names_work_with_position_embeddings(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    plain = tiny("XLMRobertaModel", tmp_path / "a")
    renamed = rewrite(tiny("XLMRobertaModel", tmp_path / "b"), with_flash_names)
    assert relative_error(hidden(load(renamed), prompts), hidden(load(plain), prompts)) == 0


def test_transformers_names_work_with_a_classifier(tmp_path, load):
    name = "XLMRobertaForSequenceClassification"
    plain, renamed = tiny(name, tmp_path / "a", num_labels=3), tiny(name, tmp_path / "b", num_labels=3)
    rewrite(renamed, with_flash_names)
    expected, actual = (load(folder).classify(prompts_of(FEW_LENGTHS), use_tqdm=False) for folder in (plain, renamed))
    assert [one.outputs.probs for one in actual] == [other.outputs.probs for other in expected]


def test_unsupported_position_types_are_refused(tmp_path, load):
    with pytest.raises(CheckpointError, match=r"'alibi' for XLMRobertaModel\. Supported: 'absolute', 'rotary'"):
        load(jina(tmp_path), hf_overrides={"position_embedding_type": "alibi"})
