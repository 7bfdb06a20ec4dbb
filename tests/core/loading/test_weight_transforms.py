"""A model's weight transforms transpose, split and merge tensors of a checkpoint before they are renamed."""

import numpy as np
import pytest
import torch

from millpond import LLM
from millpond.nn import Linear, PoolingModel, WeightTransform
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ArchitectureSpec, PoolingDefaults
from millpond.testing.checkpoints import random_tensors, write_config, write_weights
from millpond.types.errors import CheckpointError

SIZE, WORDS = 16, 12
IDS = [[1, 2, 3], [4], [5, 6]]


class Mixed(PoolingModel):
    """Embeddings, a fused linear layer whose parts are summed, and another linear layer."""

    def __init__(self, ctx):
        super().__init__(ctx)
        self.words = torch.nn.Embedding(WORDS, SIZE)
        self.parts = Linear(ctx, SIZE, SIZE, SIZE, SIZE)
        self.output = Linear(ctx, SIZE, SIZE, bias=False)

    def forward(self, batch):
        one, two, three = self.parts(self.words(batch.input_ids)).chunk(3, dim=-1)
        return self.output(one - two + three)


class Plain(Mixed):
    """A model whose checkpoint has the same tensors."""

    weight_names = ((r"parts\.(\d)\.(\w+)", r"parts.\2@\1"),)


class Stored(Mixed):
    """A model whose checkpoint has a transposed layer, a layer interleaved by heads, and split embeddings."""

    weight_prefixes = ("model.",)
    weight_names = (*Plain.weight_names,)
    weight_transforms = (
        WeightTransform.transpose(r"output\.weight"),
        WeightTransform.concat((r"words\.first", r"words\.second"), "words.weight"),
        WeightTransform(
            sources=(r"interleaved\.(weight|bias)",),
            targets=(r"parts.0.\1", r"parts.1.\1", r"parts.2.\1"),
            compute=lambda model, fused: (
                fused.unflatten(0, (model.ctx.config.num_heads, 3, -1)).transpose(0, 1).flatten(1, 2).unbind()
            ),
        ),
    )


def tensors():
    shapes = {"words.weight": (WORDS, SIZE), "output.weight": (SIZE, SIZE)}
    for part in range(3):
        shapes |= {f"parts.{part}.weight": (SIZE, SIZE), f"parts.{part}.bias": (SIZE,)}
    return random_tensors(shapes)


def stored(plain, heads=4):
    checkpoint = {"model.output.weight": plain["output.weight"].t().contiguous()}
    checkpoint["model.words.first"], checkpoint["model.words.second"] = (
        part.contiguous() for part in plain["words.weight"].split([5, WORDS - 5])
    )
    for kind in ("weight", "bias"):
        parts = torch.stack([plain[f"parts.{part}.{kind}"].unflatten(0, (heads, -1)) for part in range(3)], dim=1)
        checkpoint[f"model.interleaved.{kind}"] = parts.flatten(0, 2).contiguous()
    return checkpoint


def load(folder, model, weights, **arguments):
    plugins = PluginManager()
    plugins.register(ArchitectureSpec(name="Mixed", target=model, tasks=("embed",), pooling=PoolingDefaults("MEAN")))
    config = {"architectures": ["Mixed"], "hidden_size": SIZE, "vocab_size": WORDS, "num_heads": 4}
    write_config(folder, config)
    write_weights(folder, weights)
    return LLM(str(folder), plugins=plugins, skip_tokenizer_init=True, num_workers=1, **arguments)


def vectors(folder, model, weights, **arguments):
    with load(folder, model, weights, **arguments) as llm:
        return np.stack([output.outputs.array for output in llm.embed(IDS, use_tqdm=False)])


@pytest.mark.parametrize("arguments", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}])
def test_transformed_weights_are_bit_identical_to_stored_ones(tmp_path, arguments):
    plain = tensors()
    expected = vectors(tmp_path / "plain", Plain, plain, **arguments)
    actual = vectors(tmp_path / "stored", Stored, stored(plain), **arguments)
    np.testing.assert_array_equal(actual, expected)


def test_tensors_may_come_in_any_order(tmp_path):
    plain = tensors()
    backwards = dict(reversed(stored(plain).items()))
    actual = vectors(tmp_path / "stored", Stored, backwards)
    np.testing.assert_array_equal(actual, vectors(tmp_path / "plain", Plain, plain))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.pop("model.words.second"), r"has model\.words\.first but no tensor that matches 'words"),
        (lambda it: it.pop("model.interleaved.bias"), r"missing \(3\): parts\.bias@0|missing \(1\): parts\.bias"),
        (lambda it: it.update({"model.interleaved.bias": torch.zeros(50)}), r"interleaved\.bias has the shape \[50\]"),
        (
            lambda it: it.update({"model.output.weight": torch.zeros(3, SIZE)}),
            r"output\.weight': the checkpoint has \[16, 3\]",
        ),
        (lambda it: it.update({"model.other": torch.zeros(3)}), r"unused \(1\): model\.other"),
    ],
)
def test_shape_errors_contain_the_name_in_the_checkpoint(tmp_path, change, message):
    weights = stored(tensors())
    change(weights)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path, Stored, weights)


def test_a_transform_that_returns_the_wrong_number_of_tensors_is_named(tmp_path):
    class Wrong(Stored):
        weight_transforms = (WeightTransform(sources=(r"output\.weight",), compute=lambda _, tensor: [tensor, tensor]),)

    with pytest.raises(CheckpointError, match=r"Wrong: the transform of model\.output\.weight must return 1 tensors"):
        load(tmp_path, Wrong, stored(tensors()))


def test_rows_are_split_by_their_ratio():
    (rows,) = [torch.arange(6.0)[:, None]]
    transform = WeightTransform.split("x", ("a", "b"), sizes=(1, 2))
    assert [part[:, 0].tolist() for part in transform.compute(None, rows)] == [[0, 1], [2, 3, 4, 5]]
    with pytest.raises(ValueError, match=r"7 rows cannot be split in the ratio 1:2"):
        transform.compute(None, torch.zeros(7, 1))


def test_changes_of_an_adapter_are_transformed_like_the_weights(tmp_path):
    plain, generator = tensors(), torch.Generator().manual_seed(1)
    rows = {"model.output": (SIZE, SIZE), "model.interleaved": (3 * SIZE, SIZE)}
    changes = {
        name: (torch.randn(shape[0], 2, generator=generator), torch.randn(2, shape[1], generator=generator))
        for name, shape in rows.items()
    }
    before = stored(plain)
    after = {**before}
    for name, (up, down) in changes.items():
        after[f"{name}.weight"] = before[f"{name}.weight"] + up @ down

    class Adapted(Stored):
        def load_weights(self, weights):
            taken = list(weights)
            type(self).targets = self.adapter_changes(changes)
            return super().load_weights(taken)

    with load(tmp_path / "one", Adapted, before):
        pass
    targets = Adapted.targets
    assert set(targets) == {"output.weight", "parts.weight@0", "parts.weight@1", "parts.weight@2"}
    up, down = targets["output.weight"]
    expected = (after["model.output.weight"] - before["model.output.weight"]).t()
    torch.testing.assert_close(up @ down, expected)
    whole = torch.cat([torch.mm(*targets[f"parts.weight@{part}"]) for part in range(3)])
    difference = after["model.interleaved.weight"] - before["model.interleaved.weight"]
    torch.testing.assert_close(whole, difference.unflatten(0, (4, 3, -1)).transpose(0, 1).flatten(0, 2))
