"""A context knows the ops that its model has asked for."""

from dataclasses import replace
from types import SimpleNamespace

from millpond import LLM


def test_the_ops_that_were_asked_for_are_known(checkpoint):
    with LLM(str(checkpoint), device="cpu", quantization="int8") as llm:
        ops = llm._loaded.context.ops  # noqa: SLF001
    assert {"attention", "linear", "normalize"} <= set(ops)
    assert "maxsim" not in ops
    assert (ops["linear"].quantization, ops["normalize"].quantization) == ("int8", None)


def test_a_context_made_by_hand_has_asked_for_nothing():
    from millpond.context import Context

    ctx = Context(registry=None, model=SimpleNamespace(), config={}, device=None, dtype=None)
    assert ctx.ops == {}
    assert replace(ctx, task="embed").ops is ctx.ops
