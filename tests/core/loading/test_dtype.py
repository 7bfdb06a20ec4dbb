"""The dtype of a model: the requested one, else the checkpoint's, never a narrower one."""

import shutil

import numpy as np
import pytest
import torch

from millpond import LLM, InvalidInputError
from millpond.loading.precision import disable_tf32, runnable_dtype
from millpond.testing.checkpoints import random_tensors, tiny, write_weights
from millpond.types.compute import BFLOAT16_WEIGHTS
from millpond.types.config import CheckpointConfig
from millpond_checkpoints.headers import read_headers
from millpond_formats.transformers.config import read_dtype


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("auto", "float32"),
        ("float32", "float32"),
        ("float", "float32"),
        ("torch.float32", "float32"),
        (torch.float32, "float32"),
        ("bfloat16", "bfloat16"),
        (torch.bfloat16, "bfloat16"),
        ("half", "float16"),
        ("float16", "float16"),
    ],
)
def test_a_requested_dtype_is_used(checkpoint, load, expected, asked, taken, vector):
    llm = load(checkpoint, dtype=asked)
    assert llm.model_config.dtype == taken
    stored = {f"torch.{taken}"}
    if llm._loaded.context.compute.quantization == BFLOAT16_WEIGHTS:  # noqa: SLF001
        stored.add("torch.float32")  # norms and biases
    assert {str(parameter.dtype) for parameter in llm._loaded.model.parameters()} == stored  # noqa: SLF001
    assert np.abs(vector(llm) - expected).max() <= (1e-6 if taken == "float32" else 1e-2)


@pytest.mark.parametrize("asked", ["fp16", "float64", "int8", "", "AUTO", None, 16], ids=repr)
def test_an_unknown_dtype_is_refused_with_those_known(checkpoint, asked):
    with pytest.raises(InvalidInputError, match=rf"dtype='{asked}': expected one of auto, float32, float, bfloat16"):
        LLM(str(checkpoint), dtype=asked)


@pytest.mark.parametrize(
    "stated", [{"dtype": "{}"}, {"dtype": None, "torch_dtype": "{}"}, {"dtype": "torch.{}"}, {"dtype": None}]
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_checkpoints_dtype_is_never_cast_down(tmp_path, load, dtype, stated, change):
    folder = tiny("BertModel", tmp_path, dtype=dtype)
    change(folder, **{key: value and value.format(dtype) for key, value in stated.items()})
    taken = load(folder).model_config.dtype
    assert taken in (dtype, "float32")
    if dtype != "bfloat16":
        assert taken == "float32"  # no CPU computes natively in float16


def test_the_dtype_of_weights_is_used_if_config_names_no_known_dtype(tmp_path, load, change):
    folder = tiny("BertModel", tmp_path, dtype="float32")
    for stated in ("int8", "float64", {"a": 1}, 5):
        change(folder, dtype=stated)
        assert load(folder).model_config.dtype == "float32"


def test_the_dtype_does_not_depend_on_an_adapter_next_to_the_weights(tmp_path):
    folder = tiny("BertModel", tmp_path, dtype="bfloat16")
    write_weights(tmp_path / "other", random_tensors({"a": (2,)}))
    shutil.copy(tmp_path / "other" / "model.safetensors", folder / "adapter_model.safetensors")
    assert read_dtype(CheckpointConfig({}), read_headers(folder)).values == {"dtype": "bfloat16"}


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_int8_layers_of_a_bfloat16_checkpoint_compute_in_float32(tmp_path, load, dtype):
    folder = tiny("BertModel", tmp_path, dtype="bfloat16")
    texts = ["a cat sat on the mat", "the mill"]
    expected, vectors = (
        load(folder, dtype=it, quantization="int8").embed(texts, output="array") for it in ("float32", dtype)
    )
    np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize(
    ("device", "dtype", "products", "is_permitted"),
    [
        ("cuda", torch.float32, "highest", False),
        ("cuda:1", torch.float32, "highest", False),
        ("cuda", torch.float32, "high", True),
        ("cuda", torch.bfloat16, "highest", True),
        ("cpu", torch.float32, "highest", True),
    ],
)
def test_convolutions_in_float32_are_not_rounded_to_tf32(monkeypatch, device, dtype, products, is_permitted):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: products)
    assert torch.backends.cudnn.allow_tf32
    try:
        disable_tf32(dtype, torch.device(device))
        assert torch.backends.cudnn.allow_tf32 is is_permitted
    finally:
        torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize(
    ("dtype", "capability", "hip", "expected"),
    [
        ("bfloat16", (7, 5), None, "float32"),
        ("bfloat16", (8, 0), None, "bfloat16"),
        ("bfloat16", (9, 4), "7.0", "bfloat16"),
        ("float16", (7, 5), None, "float16"),
        ("float32", (7, 5), None, "float32"),
    ],
)
def test_a_gpu_without_bfloat16_computes_in_float32(monkeypatch, dtype, capability, hip, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert runnable_dtype(dtype, torch.device("cuda:1")) == expected
