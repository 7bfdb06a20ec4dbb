"""Profiles that the caller names by their files."""

import logging

import pytest

from millpond import LLM, InvalidInputError
from millpond.loading.profile import Machine, write_profile
from millpond.testing.checkpoints import tiny


def test_a_given_file_is_taken(tmp_path, key, model, kit):
    path = tmp_path / "mine.json"
    write_profile(
        path,
        kit.profile_of(key, kernels=kit.other_attention, max_num_batched_tokens=kit.budget, num_workers=kit.workers),
    )
    assert kit.taken(model, profile=path) == kit.taken(model, profile=str(path)) == kit.by_profile


def test_a_given_file_may_come_from_another_machine(tmp_path, key, model, caplog, kit):
    path = tmp_path / "mine.json"
    elsewhere = key.model_copy(update={"machine": Machine(processor="Elsewhere", cores=64)})
    write_profile(path, kit.profile_of(elsewhere, num_workers=kit.workers))
    with caplog.at_level(logging.INFO, logger="millpond"):
        assert kit.taken(model, profile=path)[1] == kit.workers
    assert "measured on another machine: processor='Elsewhere', not " in caplog.text


def test_a_given_file_of_another_model_or_mode_is_refused(tmp_path, key, model, kit):
    path = tmp_path / "mine.json"
    write_profile(path, kit.profile_of(key, num_workers=kit.workers))
    with pytest.raises(InvalidInputError, match=r"mine\.json holds for quantization=None, not 'int8'"):
        LLM(model, device="cpu", quantization="int8", profile=path)
    other = str(tiny("BertModel", tmp_path / "wider", hidden_size=64, intermediate_size=64))
    with pytest.raises(InvalidInputError, match=r"holds for hidden_size=32, not 64; intermediate_size=48, not 64"):
        LLM(other, device="cpu", profile=path)


@pytest.mark.parametrize("given", [1, 0.5, {"num_workers": 1}, b"bytes"], ids=str)
def test_what_is_no_path_is_refused(given, model):
    with pytest.raises(InvalidInputError, match=r"profile=.*the path of a file") as caught:
        LLM(model, profile=given)
    assert caught.value.parameter == "profile"
