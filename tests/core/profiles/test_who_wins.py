"""A profile goes before the defaults, and what the caller says goes before a profile."""

import asyncio
import logging

import pytest

from millpond import LLM, AsyncLLM
from millpond.config import EngineConfig
from millpond.loading.profile import ProfileSettings

DEFAULT = EngineConfig().max_num_batched_tokens


def test_a_profile_goes_before_the_defaults(folder, key, model, kit):
    before = kit.taken(model)
    kit.store(folder, key, kernels=kit.other_attention, max_num_batched_tokens=kit.budget, num_workers=kit.workers)
    assert kit.taken(model) == kit.by_profile
    assert before[:2] == (DEFAULT, None)
    assert before[2] != "attention_reference"


def test_what_a_profile_does_not_say_is_as_by_default(folder, key, model, kit):
    before = kit.taken(model)
    kit.store(folder, key, num_workers=kit.workers)
    assert kit.taken(model) == (before[0], kit.workers, before[2])


def test_what_the_caller_says_goes_before_a_profile(folder, key, model, kit):
    kit.store(folder, key, kernels=kit.other_attention, max_num_batched_tokens=kit.budget, num_workers=kit.workers)
    assert kit.taken(model, max_num_batched_tokens=2048) == (2048, *kit.by_profile[1:])
    assert kit.taken(model, num_workers=1) == (kit.budget, 1, "attention_reference")
    assert kit.taken(model, kernels={"attention": "sdpa"}) == (kit.budget, kit.workers, "attention_sdpa")
    assert kit.taken(model, attention_backend="sdpa") == (kit.budget, kit.workers, "attention_sdpa")
    assert kit.taken(model, kernels={"gelu": "torch"}) == kit.by_profile


@pytest.mark.parametrize("without", [{"profile": False}, {"dtype": "bfloat16"}, {"deterministic": True}], ids=str)
def test_who_asks_for_none_or_for_something_else_gets_none(folder, key, model, without, kit):
    kit.store(folder, key, kernels=kit.other_attention, max_num_batched_tokens=kit.budget, num_workers=kit.workers)
    assert kit.taken(model, **without)[:2] == (DEFAULT, None)


def test_the_variable_switches_profiles_off(folder, key, model, monkeypatch, kit):
    path = kit.store(folder, key, num_workers=kit.workers)
    monkeypatch.setenv("MILLPOND_PROFILES", "0")
    assert kit.taken(model)[1] is None
    assert kit.taken(model, profile=str(path))[1] == kit.workers


def test_async_llm_takes_it_too(folder, key, model, kit):
    kit.store(folder, key, kernels=kit.other_attention, max_num_batched_tokens=kit.budget, num_workers=kit.workers)

    async def taken(**arguments):
        async with AsyncLLM(model, device="cpu", **arguments) as llm:
            engine = llm.engine.engine
            return engine.scheduler.max_num_batched_tokens, engine.runner.num_workers, kit.attention_of(llm)

    assert asyncio.run(taken()) == kit.by_profile
    assert asyncio.run(taken(num_workers=1)) == (kit.budget, 1, "attention_reference")
    assert asyncio.run(taken(profile=False))[0] == DEFAULT


def test_results_do_not_change(folder, key, model, kit):
    kit.store(folder, key, kernels=kit.other_attention, max_num_batched_tokens=16, num_workers=kit.workers)
    with LLM(model) as tuned, LLM(model, profile=False) as plain:
        texts = [f"the cat on the {word}" for word in ("hill", "road", "street by the sea")]
        for one, two in zip(tuned.embed(texts), plain.embed(texts), strict=True):
            assert abs(one.outputs.array - two.outputs.array).max() < 1e-6


def test_the_log_says_that_a_profile_is_in_use(folder, key, model, caplog, kit):
    path = kit.store(folder, key, kernels=kit.other_attention, num_workers=kit.workers)
    with caplog.at_level(logging.INFO, logger="millpond"):
        kit.taken(model)
    said = [record.getMessage() for record in caplog.records if "profile" in record.getMessage()]
    assert said == [f"{model}: the profile {path} is in use: attention=reference, num_workers={kit.workers}"]


def test_settings_are_told_in_a_line():
    assert str(ProfileSettings()) == "the defaults"
    assert str(ProfileSettings(max_num_batched_tokens=512)) == "max_num_batched_tokens=512"
