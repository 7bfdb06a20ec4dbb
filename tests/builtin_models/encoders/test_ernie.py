"""ErnieModel, with and without classifiers and task type embeddings: equal to transformers."""

import numpy as np
import pytest
import torch
from model_kit import max_difference, run_task
from safetensors.torch import load_file, save_file

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny, vocabulary

WORDS = vocabulary("bert")
LENGTHS = (1, 2, 3, 64, 5, 8, 13, 30)
TASKS = "embeddings.task_type_embeddings.weight"
TASK_OF = {"Model": "token_embed", "ForSequenceClassification": "classify", "ForTokenClassification": "token_classify"}


def prompts_of(lengths):
    random = np.random.default_rng(0)
    return [random.integers(5, len(WORDS), size=length).tolist() for length in lengths]


@pytest.mark.parametrize("task_id", [True, False])
@pytest.mark.parametrize("kind", TASK_OF)
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, load, transformers, kind, task_id):
    labels = {} if kind == "Model" else {"num_labels": 3}
    folder = tiny(f"Ernie{kind}", tmp_path, use_task_id=task_id, **labels)
    assert any(name.endswith(TASKS) for name in load_file(folder / "model.safetensors")) is task_id
    config = transformers.AutoConfig.from_pretrained(folder)
    more = {"add_pooling_layer": False} if kind == "Model" else {}
    model = getattr(transformers, f"Ernie{kind}")(config, **more).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    prompts = prompts_of(LENGTHS)
    with torch.inference_mode():
        outputs = [model(torch.tensor([ids])) for ids in prompts]
    expected = [(out.last_hidden_state if kind == "Model" else out.logits)[0].numpy() for out in outputs]
    together = run_task(load(folder), prompts, TASK_OF[kind])
    assert max_difference(together, expected) <= 1e-5


def test_a_missing_table_of_tasks_is_named(tmp_path, load):
    folder = tiny("ErnieModel", tmp_path, use_task_id=False)
    with pytest.raises(CheckpointError, match=r"use_task_id.*has no rows of embeddings\.task_type_embeddings\.weight"):
        load(folder, hf_overrides={"use_task_id": True})


@pytest.mark.parametrize("shape", [(), (0, 32), (3, 31), (3,)], ids=str)
def test_a_misshapen_table_of_tasks_is_refused(tmp_path, load, shape):
    folder = tiny("ErnieModel", tmp_path)
    path = folder / "model.safetensors"
    save_file(load_file(path) | {TASKS: torch.ones(shape)}, path)
    with pytest.raises(CheckpointError, match=r"embeddings\.task_type_embeddings\.weight"):
        load(folder)
