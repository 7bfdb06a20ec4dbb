"""Contexts: the facts of a model, of one of its tasks, and of one of its poolers."""

from dataclasses import fields
from types import SimpleNamespace

import pytest

from millpond import LLM
from millpond.context import Context, ModelContext, PoolerContext, TaskContext
from millpond.testing.contexts import bare_context
from millpond.types.compute import ComputeOptions


def test_the_context_lists_the_requested_ops(checkpoint):
    with LLM(str(checkpoint), device="cpu", quantization="int8") as llm:
        ops = llm._loaded.context.requested.ops  # noqa: SLF001
    assert {"attention", "linear", "normalize"} <= set(ops)
    assert "maxsim" not in ops
    assert (ops["linear"].quantization, ops["normalize"].quantization) == ("int8", None)


def test_a_new_context_has_no_requested_ops():
    ctx = Context(registry=None, model=SimpleNamespace(), config={}, device=None, dtype=None)
    assert ctx.requested.ops == {}
    assert ctx.for_task("embed").requested.ops is ctx.requested.ops


def test_a_context_of_a_model_has_no_fields_of_tasks_and_poolers():
    assert Context is ModelContext
    stored = {field.name for field in fields(ModelContext)}
    assert stored.isdisjoint({"task", "task_spec", "head", "activation_name"})
    ctx = Context(registry=None, model=SimpleNamespace(), config={}, device=None, dtype=None)
    assert ctx.for_task("embed").task == "embed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("head", r"has no head: a PoolerContext has it. ctx.pooler\(task, head=..., activation=...\) passes one"),
        ("task", r"has no task: .* ctx.for_task\(task\) returns a TaskContext"),
        ("hed", "ModelContext has no hed$"),
    ],
)
def test_an_attribute_of_another_context_names_the_way_to_get_it(name, message):
    ctx = Context(registry=None, model=SimpleNamespace(), config={}, device=None, dtype=None)
    with pytest.raises(AttributeError, match=message):
        getattr(ctx, name)


def test_the_context_of_a_pooler_knows_its_task_head_and_activation(registry):
    head = object()
    pooler = bare_context(registry).pooler("embed", activation="tanh")
    assert pooler.activation is registry.activations.get("tanh").load()
    with pytest.raises(TypeError, match="task"):
        PoolerContext(registry=None, model=None, config={}, device=None, dtype=None)
    ctx = PoolerContext(registry=registry, model=None, config={}, device=None, dtype=None, task="embed", head=head)
    assert (ctx.task_spec.name, ctx.head, ctx.activation_name) == ("embed", head, None)


def test_each_context_keeps_its_kind_for_parts_and_heads(registry):
    ctx = TaskContext(
        registry=registry,
        model=None,
        config={"part": {"size": 3}},
        device=None,
        dtype=None,
        task="embed",
        compute=ComputeOptions(quantization="int8", kernels={"linear": "int8_torch", "attention": "sdpa"}),
    )
    assert ctx.for_part("part").config == {"size": 3}
    plain = ctx.for_head()
    assert (type(plain), plain.task, plain.compute.quantization) == (TaskContext, "embed", None)
    assert plain.compute.kernels == {"attention": "sdpa"}
