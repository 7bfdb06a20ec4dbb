"""Which kernels ``millpond tune`` tries, and that one which does something else is refused."""

import pytest
import torch

from millpond.nn.ops import Setting, judge_kernels
from millpond.plugins import PluginManager
from millpond.registry import Origin, Registry
from millpond.specs import KernelSpec
from millpond_cli import tuning


def with_kernel(name, target, **settings):
    """All that is installed, and one kernel more."""
    manager = PluginManager()
    manager.register(KernelSpec(name=name, target=target, priority=-50, **settings))
    return manager


def test_the_kernels_that_fit_are_tried_and_those_of_ops_that_nobody_asks_for_are_not(search, kit):
    found = search(lambda kernels, budget, workers: 1.0)
    assert set(kit.rows(found, "attention")) >= {"sdpa", "reference"}
    assert set(kit.rows(found, "linear")) >= {"torch", "tiles"}
    assert kit.rows(found, "maxsim") == {}


def test_a_kernel_of_another_quantization_is_never_tried(search, kit):
    plain = search(lambda kernels, budget, workers: 1.0)
    quantized = search(lambda kernels, budget, workers: 1.0, quantization="int8")
    for found, is_right in ((plain, lambda name: "int8" not in name), (quantized, lambda name: "int8" in name)):
        assert all(map(is_right, kit.rows(found, "linear")))


def test_a_kernel_that_the_caller_names_is_taken_and_no_other_of_its_op_is_tried(search, kit):
    found = search(lambda kernels, budget, workers: 1.2 if budget == 512 else 1.0, kernels={"attention": "reference"})
    assert kit.rows(found, "attention") == {}
    assert found.settings.kernels == {"attention": "reference"}
    assert found.settings.max_num_batched_tokens == 512
    without = search(lambda kernels, budget, workers: 1.0, kernels={"attention": "reference"})
    assert (without.settings.kernels, without.gain) == ({"attention": "reference"}, None)


def test_a_kernel_that_promises_no_independence_is_not_tried_where_that_is_asked_for(search, kit):
    found = search(lambda kernels, budget, workers: 1.0, deterministic=True)
    assert "torch" not in kit.rows(found, "linear")


def test_a_hopeless_kernel_is_not_measured(search):
    found = search(lambda kernels, budget, workers: 0.3 if kernels.get("attention") == "reference" else 1.0)
    (row,) = (it for it in found.attempts if it.value == "reference")
    assert (row.verdict, row.rounds, row.ratio) == ("hopeless", 1, pytest.approx(0.3))


def wrong(x, bias):
    return torch.zeros_like(x)


def spoilt(x, bias):
    return x * torch.nan


def broken(x, bias):
    message = "no such instruction"
    raise RuntimeError(message)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (wrong, "it gives other vectors: their cosine with those of the default is down to"),
        (spoilt, "NonFiniteOutputError"),
        (broken, "no such instruction"),
        ("nowhere:at_all", "does not load"),
    ],
    ids=["wrong", "spoilt", "broken", "missing"],
)
def test_a_kernel_that_does_not_do_what_the_default_does_is_refused(search, kernel, reason):
    manager = with_kernel("gelu.mine", kernel)
    found = search(lambda kernels, budget, workers: 9.0 if kernels.get("gelu") == "mine" else 1.0, manager=manager)
    (row,) = (it for it in found.attempts if it.value == "mine")
    assert row.verdict == "refused"
    assert reason in row.reason
    assert "mine" not in str(found.settings)


def same(x, bias):
    return torch.nn.functional.gelu(x if bias is None else x + bias)


def test_a_plugin_s_kernel_is_chosen_when_it_is_faster(search):
    manager = with_kernel("gelu.mine", same)
    found = search(lambda kernels, budget, workers: 2.0 if kernels.get("gelu") == "mine" else 1.0, manager=manager)
    assert found.settings.kernels == {"gelu": "mine"}


def test_a_variant_that_two_plugins_bring_is_named_whole():
    registry = Registry()
    for plugin in ("mine", "yours"):
        origin = Origin(plugin=plugin, rank="installed")
        registry.register(KernelSpec(name="gelu.quick", target=same), origin)
    registry.register(KernelSpec(name="gelu.steady", target=same, priority=-1), origin)
    verdicts = judge_kernels(registry, "gelu", Setting(device=torch.device("cpu"), dtype=torch.float32))
    assert tuning.spellings(verdicts) == ["mine/gelu.quick", "yours/gelu.quick", "steady"]
