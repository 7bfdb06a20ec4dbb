"""Contexts are created and read by the arguments and attributes of before 0.2 for one release."""

from dataclasses import replace

import pytest
import torch

from millpond.context import Context, ModelContext, PoolerContext, TaskContext
from millpond.testing.contexts import bare_context
from millpond.types.compute import ComputeOptions

OLD = "is now|has no"
NOTHING = {"kernels": {}, "quantization": None, "batch_invariant": False, "projector": None, "code": None}


@pytest.fixture
def ctx(registry):
    return bare_context(registry)


def facts(ctx):
    return {name: getattr(ctx, name) for name in ("registry", "model", "config", "device", "dtype")}


def test_a_context_of_a_task_is_made_by_replace(ctx):
    with pytest.warns(DeprecationWarning, match=r"has no task: use ctx.for_task\(task\)") as caught:
        created = replace(ctx, task="embed")
    assert isinstance(created, PoolerContext)
    assert created.task_spec.name == "embed"
    assert created.head is None
    assert [warning.filename for warning in caught] == [__file__]


def test_the_flat_arguments_are_grouped(ctx):
    dense, sparse = torch.nn.Linear(4, 2), torch.nn.Identity()
    flat = {"kernels": {"linear": "torch"}, "quantization": "int8", "batch_invariant": True}
    with pytest.warns(DeprecationWarning, match=r"quantization is now compute=ComputeOptions\(quantization=") as caught:
        created = Context(**facts(ctx), **flat, projector=dense, code=sparse, ops={}, activations={})
    assert [warning.filename for warning in caught] == [__file__]
    assert created.compute == ComputeOptions(**flat)
    assert list(created.rows_after_pooling) == [dense]
    assert created.post_pooling.sparse is sparse


def test_replace_of_one_flat_argument_keeps_the_others(ctx):
    dense = torch.nn.Sequential(torch.nn.Linear(4, 2))
    with pytest.warns(DeprecationWarning, match=OLD):
        created = replace(
            replace(ctx, projector=dense, batch_invariant=True), quantization="int8", code=torch.nn.Identity()
        )
    assert created.compute == ComputeOptions(quantization="int8", batch_invariant=True)
    assert list(created.rows_after_pooling) == list(dense)
    assert created.makes_sparse
    with pytest.warns(DeprecationWarning, match=OLD):
        assert replace(created, projector=None, code=None).post_pooling is None


def test_every_former_argument_is_accepted_with_its_default(ctx):
    with pytest.warns(DeprecationWarning, match=OLD):
        created = Context(**facts(ctx), **NOTHING, task=None, head=None, activation_name=None)
    assert type(created) is ModelContext
    with pytest.warns(DeprecationWarning, match=OLD):
        of_task = Context(**facts(ctx), **NOTHING, task="embed", head=None, activation_name="relu")
    assert (of_task.task, of_task.activation_name) == ("embed", "relu")


@pytest.mark.parametrize("name", ["task", "head", "activation_name"])
def test_reading_a_task_field_of_a_model_context_warns(ctx, name):
    with pytest.warns(DeprecationWarning, match=f"ModelContext has no {name}") as caught:
        assert getattr(ctx, name) is None
    assert caught[0].filename == __file__


def test_an_attribute_of_a_task_names_the_fix(ctx):
    with pytest.raises(AttributeError, match=r"'task_spec': it has no task, see ctx.for_task\(task\)"):
        ctx.task_spec  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'tasc'$"):
        ctx.tasc  # noqa: B018


@pytest.mark.filterwarnings("error")
def test_current_contexts_are_created_without_a_warning(ctx):
    task = replace(ctx, compute=ComputeOptions(batch_invariant=True)).for_task("embed")
    assert type(task) is TaskContext
    assert type(replace(task, task="token_embed")) is TaskContext
    assert type(PoolerContext(**facts(ctx), task="embed", head=None)) is PoolerContext
    with pytest.raises(TypeError, match="unexpected keyword argument 'kernel'"):
        Context(**facts(ctx), kernel={})
