"""ColBERT by the names that other servers know it by, on ModernBERT and on Jina's XLM-RoBERTa."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import DenseLayer, random_tensors, tiny, write_config, write_dense, write_weights

TEXTS = ["the cat sat on the mill", "a", "the old mill, the old river"]
DIM = 12
BACKBONES = {"ColBERTModernBertModel": "ModernBertModel", "ColBERTJinaRobertaModel": "XLMRobertaModel"}


def settings(name):
    return {"position_embedding_type": "rotary"} if name == "ColBERTJinaRobertaModel" else {}


def expected(load, folder, name, projection):
    """The hidden states of the backbone alone, projected and normalized to length 1."""
    llm = load(tiny(BACKBONES[name], folder, **settings(name)))
    bare = PoolingParams(use_activation=False)
    states = llm.encode(TEXTS, bare, pooling_task="token_embed", use_tqdm=False)
    rows = [functional.linear(torch.from_numpy(output.outputs.array.copy()), projection) for output in states]
    return [functional.normalize(one, dim=1).numpy() for one in rows]


def beside(folder, name, architecture=None, **config):
    """The backbone with the projection in its own file."""
    tiny(BACKBONES[name], folder, **settings(name))
    checkpoint_config = json.loads((folder / "config.json").read_text())
    write_config(folder, checkpoint_config | {"architectures": [architecture or name]} | config)
    projection = random_tensors({"linear.weight": (DIM, 32)}, seed=3)
    write_weights(folder, load_file(folder / "model.safetensors") | projection)
    return folder, projection["linear.weight"]


def same(llm, wanted):
    assert llm.model_config.tasks == ("token_embed",)
    assert llm.model_config.embedding_size == DIM
    actual = llm.encode(TEXTS, pooling_task="token_embed", use_tqdm=False)
    for output, rows in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(output.outputs.array, rows, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_projection_next_to_the_encoder_is_loaded(tmp_path, load, name):
    folder, projection = beside(tmp_path / "model", name)
    same(load(folder), expected(load, tmp_path / "alone", name, projection))


def test_a_projection_in_a_separate_folder_is_loaded(tmp_path, load):
    name = "ColBERTModernBertModel"
    folder = tiny("ModernBertModel", tmp_path / "model")
    write_dense(folder / "1_Dense", DenseLayer(in_features=32, out_features=DIM, bias=False))
    dense = folder / "1_Dense" / "config.json"
    dense.write_text(json.dumps(json.loads(dense.read_text()) | {"activation_function": "torch.nn.Identity"}))
    types = (("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense"))
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(modules))
    projection = load_file(folder / "1_Dense" / "model.safetensors")["linear.weight"]
    llm = load(folder, hf_overrides={"architectures": [name]})
    same(llm, expected(load, tmp_path / "alone", name, projection))


def test_jina_colbert_is_known_by_its_name(tmp_path, load):
    folder, projection = beside(tmp_path / "jina-colbert-v2", "ColBERTJinaRobertaModel", architecture="HF_ColBERT")
    config = {"query_maxlen": 16, "doc_maxlen": 40, "attend_to_mask_tokens": True, "mask_punctuation": True, "dim": DIM}
    (folder / "artifact.metadata").write_text(json.dumps(config))
    llm = load(folder)
    assert llm.model_config.architecture == "ColBERTJinaRobertaModel"
    same(llm, expected(load, tmp_path / "alone", "ColBERTJinaRobertaModel", projection))
    (query,) = llm.encode("the mill", pooling_task="token_embed", is_query=True, use_tqdm=False)
    assert query.outputs.array.shape == (16, DIM)


def test_the_error_for_a_missing_projection_states_the_fix(tmp_path, load):
    folder = tiny("ModernBertModel", tmp_path)
    with pytest.raises(CheckpointError, match="ColBERT dimension not found"):
        load(folder, hf_overrides={"architectures": ["ColBERTModernBertModel"]})
