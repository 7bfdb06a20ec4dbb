"""``millpond plugins doctor``: records without faults, and notes."""

import sys
from types import ModuleType

import pytest
import torch
from odd_records import (
    ACME,
    NAMED,
    Mean,
    activation,
    architecture,
    cache,
    checkpoint_format,
    command,
    converter,
    executor,
    kernel,
    module,
    pooler,
    pools,
    processor,
    route,
    source,
    task,
)

from millpond.plugin.specs import (
    PoolingDefaults,
)
from millpond.testing.records import record_faults


@pytest.fixture(autouse=True)
def odd(monkeypatch):
    """A module that import strings can name."""
    module = ModuleType("odd")
    vars(module).update(NAMED)
    monkeypatch.setitem(sys.modules, "odd", module)


HEALTHY = {
    "a pooler": pooler(tasks=("embed", "classify")),
    "a pooler of tokens": pooler(pools(list), tasks=("token_embed",)),
    "an activation": activation(torch.tanh),
    "an IO processor": processor(),
    "an architecture": architecture(pooling=PoolingDefaults("MEAN")),
    "a converter": converter(pooling=("", "MEAN")),
    "a converter that only its name chooses": converter(architectures=()),
    "a kernel": kernel(available="odd:yes"),
    "a source": source(),
    "a cache": cache(),
    "a command": command(),
    "a route": route(request="odd:Request", response="odd:Request"),
    "a checkpoint format": checkpoint_format(),
    "a module": module(places=("before", "after"), size="odd:two"),
    "an executor": executor(),
    "a derived task": task(derived_from=("embed",), io_processor="odd"),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_record_has_no_fault(plugin_manager, name):
    if name == "a derived task":
        plugin_manager.registry.register(processor(tasks=("odd",)), ACME)
    entry = plugin_manager.registry.register(HEALTHY[name], ACME)
    assert [it for it in record_faults(plugin_manager.registry, entry) if not it.is_note] == []


def test_a_converter_that_only_its_name_chooses_is_noted(plugin_manager):
    entry = plugin_manager.registry.register(converter(architectures=()), ACME)
    (note,) = record_faults(plugin_manager.registry, entry)
    assert note.is_note
    assert note.reason == "architectures are empty: only convert='odd' chooses it"


def test_a_pooler_that_needs_a_model_is_noted(plugin_manager):
    needs = type("P", (Mean,), {"__init__": lambda self, ctx: ctx.config["num_bands"]})
    entry = plugin_manager.registry.register(pooler(needs), ACME)
    (note,) = record_faults(plugin_manager.registry, entry)
    assert note.is_note
    assert "raised KeyError for the task 'embed': 'num_bands'" in note.reason
