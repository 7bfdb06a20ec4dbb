"""Parameters share the memory of loaded tensors if they can; linear layers convert their weights one by one."""

import pytest
import torch

from millpond.nn import Linear, load_parameter
from millpond.testing.contexts import bare_context

CPU = torch.device("cpu")


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


OTHERS = {
    "16 bits": draw(6, 4).bfloat16(),
    "transposed": draw(4, 6).t(),
    "with gaps": draw(6, 8)[:, ::2],
}


@pytest.fixture
def model(registry):
    """A fused linear layer and an embedding table, without values."""
    with torch.device("meta"):
        linear = Linear(bare_context(registry), 8, 3, 5)
        return torch.nn.ModuleDict({"linear": linear, "table": torch.nn.Embedding(6, 4)})


def load_tensor(model, target, tensor):
    assert load_parameter(model, target, tensor, dtype=torch.float32, device=CPU)


def test_parameter_shares_the_memory_of_a_tensor_of_its_dtype(model):
    values = draw(6, 4)
    load_tensor(model, "table.weight", values)
    assert model["table"].weight.data_ptr() == values.data_ptr()
    assert not model["table"].weight.requires_grad


@pytest.mark.parametrize("values", [*OTHERS])
def test_other_tensors_are_copied(model, values):
    values = OTHERS[values]
    load_tensor(model, "table.weight", values)
    weight = model["table"].weight
    assert weight.data_ptr() != values.data_ptr()
    assert (weight.dtype, weight.is_contiguous()) == (torch.float32, True)
    assert torch.equal(weight, values.float())


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.bfloat16, torch.float16)])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_shards_of_different_dtypes_keep_their_values(model, dtypes, is_reversed):
    shards = [draw(rows, 8).to(dtype) for rows, dtype in zip((3, 5), dtypes, strict=True)]
    order = (1, 0) if is_reversed else (0, 1)
    for shard_id in order:
        load_tensor(model, f"linear.weight@{shard_id}", shards[shard_id])
    assert torch.equal(model["linear"].weight, torch.cat([shard.float() for shard in shards]))


def test_weight_of_a_linear_layer_is_converted_by_prepare(model):
    shards, bias = [draw(rows, 8).bfloat16() for rows in (3, 5)], draw(8).bfloat16()
    for shard_id, shard in enumerate(shards):
        load_tensor(model, f"linear.weight@{shard_id}", shard)
        load_tensor(model, f"linear.bias@{shard_id}", bias[:3] if shard_id == 0 else bias[3:])
    linear, x = model["linear"], draw(4, 8)
    assert (linear.weight.dtype, linear.bias.dtype) == (torch.bfloat16, torch.float32)
    linear.prepare()
    expected = torch.nn.functional.linear(x, torch.cat(shards).float(), bias.float())
    torch.testing.assert_close(linear(x), expected)
