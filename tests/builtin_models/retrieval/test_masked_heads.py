"""Sparse vectors from the masked language models of all families, equal to the heads of transformers."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from millpond.testing.comparisons import random_prompts, relative_error

VOCABULARY = 200
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 40, 7, 2)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
COMMON = {**SIZES, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 1}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "activation": "relu"}
CASES = [
    ("Bert", {"hidden_act": "relu"}),
    ("Ernie", {"hidden_act": "relu"}),
    ("Roberta", {"hidden_act": "relu"}),
    ("Roberta", {"tie_word_embeddings": False}),
    ("DistilBert", DISTILBERT),
    ("MPNet", {}),
    ("ModernBert", {"classifier_activation": "relu", "classifier_bias": True, "norm_bias": True}),
    ("DebertaV2", {"hidden_act": "relu"}),
    ("DebertaV2", {"legacy": False}),
    ("NomicBert", {}),
    ("NomicBert", {"hidden_act": "gelu"}),
    ("Gte", {"hidden_act": "silu"}),
    ("JinaEmbeddingsV3", {"hidden_act": "relu"}),
    ("EuroBert", {"num_key_value_heads": 2}),
    ("EuroBert", {"num_key_value_heads": 2, "mlp_bias": True, "tie_word_embeddings": True}),
]


@pytest.fixture(scope="session")
def written(transformers):
    """Write a masked language model with random parameters, and return the sparse vectors from its logits."""

    def written(folder, family, settings, prompts):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**{**COMMON, **settings})
        model = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
        for name, parameter in model.named_parameters():
            around = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.data.normal_(around, 0.3)
        model.save_pretrained(folder)
        with torch.inference_mode():
            logits = [model(torch.tensor([ids])).logits[0] for ids in prompts]
        return [rows.relu().log1p().amax(dim=0).numpy() for rows in logits]

    return written


@pytest.mark.parametrize(("family", "settings"), CASES, ids=str)
def test_sparse_vectors_equal_those_by_the_logits_of_transformers(tmp_path, load, written, family, settings):
    prompts = prompts_of(LENGTHS)
    expected = written(tmp_path, family, settings, prompts)
    llm = load(tmp_path, pooler_config={"pooling_type": "SPLADE_MAX"})
    assert llm.model_config.identity.implementation == "native"
    actual = [output.outputs.array for output in llm.embed(prompts, use_tqdm=False)]
    assert relative_error(actual, expected) <= 1e-5
    assert min(float(np.ptp(rows)) for rows in expected) > 0


def test_published_files_state_the_activation_of_the_gates(tmp_path, load, written):
    prompts = prompts_of(LENGTHS)
    expected = written(tmp_path, "NomicBert", {}, prompts)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    del settings["hidden_act"]
    path.write_text(json.dumps({**settings, "activation_function": "swiglu"}), encoding="utf-8")
    llm = load(tmp_path, pooler_config={"pooling_type": "SPLADE_MAX"})
    actual = [output.outputs.array for output in llm.embed(prompts, use_tqdm=False)]
    assert relative_error(actual, expected) <= 1e-5
