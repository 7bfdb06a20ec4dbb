"""Activations compared with numpy, for single vectors, rows, and extreme values."""

import math

import numpy as np
import pytest
import torch

from millpond import UnknownNameError
from millpond.context import Context
from millpond.model.spec import ModelIdentity, ResolvedModel
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ActivationSpec, KernelSpec
from millpond.types.compute import ComputeOptions
from millpond.types.config import CheckpointConfig, PoolerConfig
from millpond_kernels.pooling.normalize import normalize_torch
from millpond_poolers import activations

ERF = np.vectorize(math.erf)
EXPECTED = {
    "identity": lambda x: x,
    "normalize": lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + ERF(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
TORCH_ACTIVATIONS = (
    *("CELU", "ELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax"),
    *("Mish", "ReLU6", "RReLU", "SELU", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanhshrink"),
)


def of_torch(name):
    """Return a function that applies a class of torch.nn with its default arguments to numpy arrays."""
    options = {"dim": -1} if "Soft" in name and name[-3:] in ("max", "min") else {}
    module = getattr(torch.nn, name)(**options).eval()
    return lambda x: module(torch.from_numpy(x)).numpy()


EXPECTED |= {name.lower(): of_torch(name) for name in TORCH_ACTIVATIONS}


def test_these_are_all_activations(registry):
    assert set(registry.activations.names()) == set(EXPECTED)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (5, 1)])
@pytest.mark.parametrize("name", EXPECTED)
def test_activation_equals_numpy(registry, name, shape):
    x = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    activated = registry.activations.get(name).load()(x)
    assert activated.shape == x.shape
    assert np.abs(activated.numpy() - EXPECTED[name](x.double().numpy())).max() <= 1e-6
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EXPECTED)
def test_activation_is_finite_at_the_ends_of_the_scale(registry, name):
    for value in (0.0, 1e-30, -1e30, 1e18):
        activated = registry.activations.get(name).load()(torch.full((2, 3), value))
        assert torch.isfinite(activated).all(), value


def test_normalize_keeps_zeros_and_the_direction_of_tiny_vectors(registry):
    normalize = registry.activations.get("normalize").load()
    assert torch.equal(normalize(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert float(normalize(torch.tensor([3e-6, 4e-6])).norm()) == pytest.approx(1, abs=1e-5)


# --- activations that are ops ---------------------------------------------------------------------------------------


def context(registry, *, dtype=torch.float32, **options):
    config = CheckpointConfig({})
    model = ResolvedModel(
        identity=ModelIdentity(model="none", path="none", source="none", architecture="none"),
        hf_config=config,
        max_model_len=8,
        dtype="float32",
        pooler_config=PoolerConfig(),
        tasks=(),
    )
    return Context(
        registry=registry,
        model=model,
        config=config,
        device=torch.device("cpu"),
        dtype=dtype,
        compute=ComputeOptions(**options),
    )


def mine(x):
    return x + 1


def test_the_op_computes_an_activation_that_names_one(registry):
    assert registry.activations.get("normalize").spec.op == "normalize"
    assert context(registry).activation("normalize") is normalize_torch
    assert context(registry).activation("tanh") is activations.tanh
    assert context(registry).activation(None) is activations.identity


def test_a_plugin_may_provide_another_kernel_for_it(plugin_manager):
    plugin_manager.register(KernelSpec(name="normalize.mine", target=mine, priority=99, dtypes=("float32",)))
    registry = plugin_manager.registry
    assert context(registry).activation("normalize").__wrapped__ is mine
    # Pooled tensors are float32 for models of any dtype.
    assert context(registry, dtype=torch.bfloat16).activation("normalize").__wrapped__ is mine
    assert context(registry, kernels={"normalize": "torch"}).activation("normalize") is normalize_torch


def test_without_the_op_the_target_serves(plugin_manager):
    without = PluginManager(ranks=("builtin",), disabled=("kernels",)).registry
    assert context(without).activation("normalize") is activations.normalize
    plugin_manager.register(KernelSpec(name="far.away", target=mine, devices=("cuda",)))
    plugin_manager.register(ActivationSpec(name="far", target=activations.relu, op="far"))
    assert context(plugin_manager.registry).activation("far").__wrapped__ is activations.relu


def test_a_selected_kernel_is_never_replaced_silently(registry):
    with pytest.raises(UnknownNameError, match=r"no kernel for 'normalize\.fast'"):
        context(registry, kernels={"normalize": "fast"}).activation("normalize")


def test_a_kernel_that_does_not_load_is_never_replaced_silently(plugin_manager):
    plugin_manager.register(KernelSpec(name="normalize.broken", target="nowhere:normalize", priority=99))
    with pytest.raises(UnknownNameError, match=r"'normalize\.broken' .* cannot be loaded"):
        context(plugin_manager.registry).activation("normalize")
