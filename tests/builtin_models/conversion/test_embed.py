"""Generative models and classifiers as embedding models, without their heads."""

import numpy as np
import pytest
from model_kit import difference, load_module, run_task, step_prompts
from safetensors.torch import load_file, save_file

from millpond import UnknownNameError
from millpond.testing.checkpoints import tiny, vocabulary

WORDS = vocabulary("decoder")
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value if that is above 1


@pytest.mark.parametrize(
    "name",
    [
        "Qwen2ForCausalLM",
        "Qwen2ForTextEncoding",
        "Qwen2EmbeddingModel",
        "Qwen2ForRewardModeling",
        "Qwen2ForConditionalGeneration",
        "Qwen2LMHeadModel",
        "Qwen2ChatModel",
    ],
)
def test_a_family_is_embedded_by_its_backbone(tmp_path, load, name):
    backbone = load(tiny("Qwen2Model", tmp_path / "backbone"))
    llm = load(
        tiny("Qwen2Model", tmp_path / "named", architectures=["Qwen2Model"]), hf_overrides={"architectures": [name]}
    )
    assert llm.model_config.tasks == backbone.model_config.tasks
    prompts = step_prompts(FEW_LENGTHS)
    assert difference(run_task(llm, prompts, "embed", None), run_task(backbone, prompts, "embed", None)) == 0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen3ForCausalLM"])
def test_the_lm_head_is_not_loaded(tmp_path, load, hidden, name, tied):
    folder = tiny(name, tmp_path, tie_word_embeddings=tied)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not tied
    llm = load(folder)
    prompts = step_prompts(FEW_LENGTHS)
    last = [rows[-1] / np.linalg.norm(rows[-1]) for rows in hidden(llm, prompts)]
    assert difference(run_task(llm, prompts, "embed", None), last) <= TOLERANCE
    assert all(
        parameter.shape[0] < len(WORDS) or "embed_tokens" in name
        for name, parameter in load_module(folder).named_parameters()
    )


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "RobertaForTokenClassification"])
def test_a_classifier_becomes_an_embedding_model_on_request(tmp_path, load, name):
    folder = tiny(name, tmp_path)
    backbone = f"{name.partition('For')[0]}Model"
    rewritten = tiny(backbone, tmp_path / "backbone")
    prefix = f"{name.partition('For')[0].lower()}."
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(f"{prefix}e")},
        rewritten / "model.safetensors",
    )
    llm = load(folder, convert="embed", pooler_config={"pooling_type": "CLS"})
    assert {"embed", "token_embed"} <= set(llm.model_config.tasks)
    prompts = step_prompts(FEW_LENGTHS)
    assert difference(run_task(llm, prompts, "embed", None), run_task(load(rewritten), prompts, "embed", None)) == 0


def test_conversion_may_be_forbidden(tmp_path, load):
    with pytest.raises(UnknownNameError, match="Unknown architecture 'Qwen2ForCausalLM'"):
        load(tiny("Qwen2ForCausalLM", tmp_path), convert="none")
