"""Dense modules with each activation of torch.nn that needs no arguments, as sentence-transformers saves them."""

import pytest
import torch
from torch import nn

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny
from millpond_poolers.plugin import TORCH_ACTIVATIONS

TORCH_CLASSES = [module_class for name, module_class in vars(nn).items() if name.lower() in dict(TORCH_ACTIVATIONS)]
ACTIVATIONS = (nn.Tanh, nn.Identity, nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.PReLU, *TORCH_CLASSES)


@pytest.fixture(scope="module")
def modules(tmp_path_factory, kinds):
    """A transformer and its pooling."""
    bare = tiny("BertModel", tmp_path_factory.mktemp("bare"))
    return [kinds.Transformer(str(bare)), kinds.Pooling(32)]


def test_every_activation_of_torch_is_covered():
    assert len(ACTIVATIONS) == 7 + len(TORCH_ACTIVATIONS)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: each.__name__)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice for:UserWarning")
def test_dense_with_each_activation(tmp_path, modules, kinds, randomized, save, load, assert_same, activation):
    dense = randomized(kinds.Dense(32, 12, activation_function=activation()))
    model = save(tmp_path, [*modules, dense])
    assert_same(load(tmp_path), model, ("the old mill", "a", "rain and wind over the river"))


def test_dense_with_a_residual_and_an_activation(tmp_path, modules, kinds, randomized, save, load, assert_same):
    dense = randomized(kinds.Dense(32, 12, activation_function=nn.LeakyReLU(), use_residual=True))
    model = save(tmp_path, [*modules, dense, kinds.Normalize()])
    assert_same(load(tmp_path), model)


def test_the_slope_of_a_prelu_must_be_there(tmp_path, modules, kinds, save, load):
    save(tmp_path, [*modules, kinds.Dense(32, 12, activation_function=nn.PReLU())])
    path = next(tmp_path.glob("*Dense"))
    kept = {"linear.weight": torch.zeros(12, 32), "linear.bias": torch.zeros(12)}
    torch.save(kept, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no 'activation_function\.weight', but its config\.json names"):
        load(tmp_path, allow_pickle=True)
