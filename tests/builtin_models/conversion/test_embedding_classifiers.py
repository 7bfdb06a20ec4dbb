"""Text and token classifiers as embedding models with ``convert="embed"``, without their heads."""

from functools import partial

import numpy as np
import pytest
import torch

from millpond import PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts, relative_error

prompts_of = partial(random_prompts, len(vocabulary("bert")))
SEQUENCE = ("Bert", "Roberta", "DistilBert", "MPNet", "ModernBert", "Gte", "DebertaV2", "EuroBert", "JinaEmbeddingsV3")


@pytest.mark.parametrize(
    "name", [*(f"{family}ForSequenceClassification" for family in SEQUENCE), "ErnieForTokenClassification"]
)
def test_hidden_states_are_those_of_the_backbone(tmp_path, load, hidden, transformers, name):
    folder = tiny(name, tmp_path)
    model = getattr(transformers, name).from_pretrained(folder).eval().base_model
    prompts = prompts_of((1, 40, 7))
    with torch.inference_mode():
        expected = [model(torch.tensor([ids])).last_hidden_state[0].numpy() for ids in prompts]
    llm = load(folder, convert="embed", pooler_config={"pooling_type": "MEAN"})
    assert llm.model_config.tasks == ("embed", "token_embed")
    assert relative_error(hidden(llm, prompts), expected) <= 1e-5
    outputs = llm.embed(prompts, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    means = [rows.mean(axis=0) for rows in expected]
    assert relative_error([np.asarray(output.outputs.embedding) for output in outputs], means) <= 1e-5
