"""The adapters of jina-embeddings-v3 in transformers' layout: PEFT folders next to the weights."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import random_tensors, tiny, vocabulary
from millpond.testing.comparisons import random_prompts, relative_error

VOCABULARY = len(vocabulary("roberta"))
prompts_of = partial(random_prompts, VOCABULARY)
ADAPTERS = {"retrieval_query": "retrieval.query", "separation": "separation", "text_matching": "text-matching"}
SETTINGS = {"peft_type": "LORA", "r": 4, "lora_alpha": 1, "bias": "none", "use_dora": False, "rank_pattern": {}}
SECOND = "layers.1.self_attn.k_proj"


def add_adapter(folder, name, *, seed, rank=4, **settings):
    """Write an adapter of every linear layer and embedding, including the pooler, by PEFT's names."""
    shapes = {}
    for weight, tensor in [
        *load_file(folder / "model.safetensors").items(),
        ("pooler.dense.weight", torch.ones(32, 32)),
    ]:
        if tensor.ndim == 2:
            stem, (rows, columns) = f"base_model.model.{weight.removesuffix('.weight')}", tensor.shape
            if "embeddings" in weight:
                shapes |= {f"{stem}.lora_embedding_A": (rank, rows), f"{stem}.lora_embedding_B": (columns, rank)}
            else:
                shapes |= {f"{stem}.lora_A.weight": (rank, columns), f"{stem}.lora_B.weight": (rows, rank)}
    (folder / name).mkdir()
    save_file(random_tensors(shapes, seed=seed), folder / name / "adapter_model.safetensors")
    overrides = {**SETTINGS, "r": rank, **settings}
    (folder / name / "adapter_config.json").write_text(json.dumps(overrides), encoding="utf-8")
    return folder


def jina(folder, **settings):
    tiny("JinaEmbeddingsV3Model", folder)
    for seed, name in enumerate(ADAPTERS, start=1):
        add_adapter(folder, name, seed=seed, **settings)
    return folder


def each(llm, prompts, names):
    """Return the hidden states of prompts in one call, with one adapter per prompt."""
    params = [PoolingParams(use_activation=False, adapter=name) for name in names]
    outputs = llm.encode(prompts, pooling_task="token_embed", pooling_params=params, use_tqdm=False)
    return [output.outputs.array for output in outputs]


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers' class with an adapter merged: W + scale * B A."""

    def reference(folder, prompts, name=None, scale=0.25):
        model = transformers.JinaEmbeddingsV3Model.from_pretrained(folder, add_pooling_layer=False)
        model = model.eval().float()
        weights = load_file(folder / "model.safetensors")
        if name is not None:
            parts = load_file(folder / name / "adapter_model.safetensors")
            for weight in [weight for weight, tensor in weights.items() if tensor.ndim == 2]:
                stem = f"base_model.model.{weight.removesuffix('.weight')}"
                if "embeddings" in weight:
                    product = torch.einsum("rv,hr->vh", *(parts[f"{stem}.lora_embedding_{part}"] for part in "AB"))
                else:
                    product = torch.einsum("ri,or->oi", *(parts[f"{stem}.lora_{part}.weight"] for part in "AB"))
                weights[weight] = weights[weight] + scale * product
        model.load_state_dict(weights)
        with torch.inference_mode():
            return [model(torch.tensor([ids])).last_hidden_state[0].numpy() for ids in prompts]

    return reference


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, 0.25), ({"lora_alpha": 6, "rank": 3}, 2.0), ({"use_rslora": True}, 0.5)],
    ids=str,
)
def test_each_prompt_of_a_batch_has_its_own_adapter(tmp_path, load, reference, settings, scale):
    folder = jina(tmp_path, **settings)
    prompts = prompts_of((1, 40, 7, 64, 3, 9, 2, 21))
    folders = [(None, *ADAPTERS)[index % 4] for index in range(len(prompts))]
    names = [None if name is None else ADAPTERS[name] for name in folders]
    llm = load(folder)
    assert llm.model_config.prompting.adapters == tuple(ADAPTERS.values())
    by_adapter = {name: reference(folder, prompts, name, scale) for name in {*folders}}
    expected = [by_adapter[name][index] for index, name in enumerate(folders)]
    assert relative_error(each(llm, prompts, names), expected) <= 1e-5
    assert (
        relative_error([each(llm, [ids], [name])[0] for ids, name in zip(prompts, names, strict=True)], expected)
        <= 1e-5
    )
    apart = [np.abs(one - other).max() for one, other in zip(expected, by_adapter[None], strict=True)]
    assert min(difference for difference, name in zip(apart, names, strict=True) if name) > 1e-3


def test_nothing_is_merged_where_no_adapter_is_named(tmp_path, load, reference, hidden):
    folder = jina(tmp_path)
    prompts = prompts_of((1, 9, 40))
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= 1e-5


@pytest.mark.parametrize(("settings", "far"), [({"dtype": "bfloat16"}, 5e-2), ({"quantization": "int8"}, 0.1)], ids=str)
def test_quantization_and_dtypes_are_close(tmp_path, load, settings, far):
    folder = jina(tmp_path)
    prompts = prompts_of((1, 9, 40))
    names = [*ADAPTERS.values()]
    assert 0 < relative_error(each(load(folder, **settings), prompts, names), each(load(folder), prompts, names)) <= far


def test_an_unknown_adapter_is_refused(tmp_path, load):
    llm = load(jina(tmp_path))
    with pytest.raises(InvalidInputError, match=r"Available: 'retrieval\.query', 'separation', 'text-matching'"):
        llm.embed([[5, 6]], task="retrieval.passage", use_tqdm=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "expected peft_type 'LORA' with r and lora_alpha; got 'IA3', 4 and 1"),
        ({"r": None}, "got 'LORA', None and 1"),
        ({"use_dora": True}, "unsupported use_dora True"),
        ({"rank_pattern": {"fc1": 8}}, "rank_pattern"),
        ({"modules_to_save": ["pooler"]}, "modules_to_save"),
    ],
    ids=str,
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, load, settings, message):
    folder = tiny("JinaEmbeddingsV3Model", tmp_path)
    add_adapter(folder, "separation", seed=1)
    path = folder / "separation" / "adapter_config.json"
    path.write_text(json.dumps({**SETTINGS, **settings}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{SECOND}.lora_A.weight": None}, rf"A and B of {SECOND} do not match: up \[32, 4\]"),
        ({f"{SECOND}.lora_A.weight": torch.ones(3, 32)}, rf"A and B of {SECOND} do not match"),
        (
            {f"{SECOND}.lora_B.weight": torch.ones(31, 4)},
            r"updates layers\.1\.attention\.qkv\.weight@1, \[32, 32\], with",
        ),
        ({f"{SECOND}.lora_magnitude_vector": torch.ones(4)}, "unsupported tensor .*lora_magnitude_vector"),
        (
            {"layers.7.mlp.fc1.lora_A.weight": torch.ones(4, 32), "layers.7.mlp.fc1.lora_B.weight": torch.ones(48, 4)},
            r"updates layers\.7\.feed_forward\.up\.weight, which the model does not have",
        ),
        ({f"{SECOND}.lora_A.weight": torch.full((4, 32), torch.nan)}, "NaN"),
    ],
    ids=["a part is missing", "another rank", "another shape", "no part", "no such layer", "not a number"],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, load, change, message):
    folder = add_adapter(tiny("JinaEmbeddingsV3Model", tmp_path), "separation", seed=1)
    path = folder / "separation" / "adapter_model.safetensors"
    tensors = load_file(path) | {f"base_model.model.{name}": tensor for name, tensor in change.items()}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_a_folder_without_its_weights_is_named(tmp_path, load):
    folder = add_adapter(tiny("JinaEmbeddingsV3Model", tmp_path), "separation", seed=1)
    (folder / "separation" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"separation has adapter_config\.json but no adapter_model\.safetensors"):
        load(folder)
