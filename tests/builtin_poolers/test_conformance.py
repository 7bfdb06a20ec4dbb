"""Conformance tests of all built-in poolers and activations."""

from torch import nn

from millpond.plugin.manager import PluginManager
from millpond.testing.conformance import ActivationConformance, PoolerConformance
from millpond.testing.contexts import bare_context
from millpond.types.params import PoolingParams

BUILTIN = PluginManager(ranks=("builtin",), disabled=()).registry


def with_logits(self, task, *, dtype="float32", batch_invariant=False):
    """Build a SPLADE pooler with a head that returns the hidden states as logits."""
    config = {"seq_pooling_type": self.name}
    ctx = bare_context(
        self.registry(), tasks=(task,), pooler_config=config, dtype=dtype, batch_invariant=batch_invariant
    )
    return ctx.pooler(task, head=nn.Identity(), activation="identity").eval()


SETTINGS = {"STEP": {"params": PoolingParams(step_tag_id=3)}} | {
    name: {"build": with_logits} for name in ("SPLADE_MAX", "SPLADE_SUM", "SPLADE_MAX_LOG", "SPLADE_SUM_LOG")
}

# It jumps by 0.5, so that a value that is rounded across the jump has another result.
JUMPS = {"hardshrink": {"tolerances": {**ActivationConformance.tolerances, "bfloat16": 0.51}}}

# One class for each registered record, so that new records are tested automatically.
for _entry in BUILTIN.poolers.entries():
    _attributes = {"name": _entry.spec.name, **SETTINGS.get(_entry.spec.name, {})}
    globals()[f"TestPooler{_entry.spec.name}"] = type(
        f"TestPooler{_entry.spec.name}", (PoolerConformance,), _attributes
    )
for _entry in BUILTIN.activations.entries():
    _name = f"TestActivation{_entry.spec.name.title().replace('_', '')}"
    globals()[_name] = type(
        _name, (ActivationConformance,), {"name": _entry.spec.name, **JUMPS.get(_entry.spec.name, {})}
    )


def test_each_built_in_component_has_a_class(registry):
    classes = [value for value in globals().values() if isinstance(value, type) and hasattr(value, "name")]
    for kind, conformance in (("pooler", PoolerConformance), ("activation", ActivationConformance)):
        tested = {one.name for one in classes if issubclass(one, conformance)}
        assert tested == set(registry.catalog(kind).names())
    assert set(SETTINGS) <= set(registry.poolers.names()) | {"STEP"}
