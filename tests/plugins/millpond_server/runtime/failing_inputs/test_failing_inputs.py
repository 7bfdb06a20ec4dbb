"""Inputs that a model failed on are blocked for some seconds; possible ones are computed alone."""

import numpy as np
import pytest
import torch

from millpond.types.params import PoolingParams
from millpond_server.runtime.failing_inputs import MAX_ENTRIES, FailingInputs, fingerprint


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def failing_inputs(clock):
    return FailingInputs(60.0, clock)


def test_an_input_that_failed_alone_is_blocked_for_the_configured_seconds(kit, failing_inputs, clock):
    failing_inputs.record([kit.request([1, 2])])
    assert failing_inputs.seconds_left(kit.request([1, 2])) == 60.0
    assert failing_inputs.seconds_left(kit.request([2, 1])) == 0.0
    clock.now += 59
    assert failing_inputs.seconds_left(kit.request([1, 2])) == 1.0
    clock.now += 1
    assert failing_inputs.seconds_left(kit.request([1, 2])) == 0.0
    assert len(failing_inputs) == 0
    assert failing_inputs.seconds_left(kit.request([1, 2])) == 0.0


def test_possible_causes_are_computed_separately_until_they_succeed(kit, failing_inputs):
    several = [kit.request([number]) for number in range(4)]
    failing_inputs.record(several)
    again = [kit.request([number]) for number in range(4)]
    assert [failing_inputs.seconds_left(request) for request in again] == [0.0] * 4
    assert len({request.group for request in again}) == 4
    again[0].results = [np.zeros(1, dtype=np.float32)]
    failing_inputs.clear_computed(again)
    free, suspect = kit.request([0]), kit.request([1])
    assert (failing_inputs.seconds_left(free), free.group) == (0.0, "text")
    assert (failing_inputs.seconds_left(suspect), suspect.group == "text") == (0.0, False)
    failing_inputs.record([suspect])
    assert failing_inputs.seconds_left(kit.request([1])) == 60.0


def test_equal_requests_that_fail_together_are_one(kit, failing_inputs):
    failing_inputs.record([kit.request([1]), kit.request([1])])
    assert failing_inputs.seconds_left(kit.request([1])) == 60.0


def test_with_zero_seconds_nothing_is_kept(kit):
    failing_inputs = FailingInputs()
    failing_inputs.record([kit.request([1])])
    assert (len(failing_inputs), failing_inputs.seconds_left(kit.request([1]))) == (0, 0.0)


def test_other_requests_are_checked_cheaply(kit, failing_inputs, monkeypatch):
    failing_inputs.record([kit.request([1])])
    monkeypatch.setattr("millpond_server.runtime.failing_inputs.fingerprint", None)
    assert failing_inputs.seconds_left(kit.request([2])) == 0.0
    failing_inputs.clear_computed([kit.request([2], results=[np.zeros(1)])])
    assert len(failing_inputs) == 1


def test_the_oldest_entries_are_dropped(kit, failing_inputs):
    for number in range(MAX_ENTRIES + 1):
        failing_inputs.record([kit.request([number])])
    assert len(failing_inputs) == MAX_ENTRIES
    assert failing_inputs.seconds_left(kit.request([0])) == 0.0
    assert failing_inputs.seconds_left(kit.request([1])) == 60.0


def test_inputs_are_distinguished_by_everything_that_the_model_receives(kit):
    def features(value):
        return kit.request([1, 2], features={"pixels": value})

    different = [
        kit.request([1, 2]),
        kit.request([1, 2], types=[0, 1]),
        kit.request([1, 2], tasks=("token_embed",)),
        kit.request([1, 2], params=PoolingParams(dimensions=2)),
        features(np.zeros(4)),
        features(np.zeros((2, 2))),
        features(np.ones(4)),
        features(torch.full((4,), 2.0)),
        kit.request([1, 2], features={"sound": np.zeros(4)}),
    ]
    assert len({fingerprint(request) for request in different}) == len(different)
    assert fingerprint(features(np.zeros(4))) == fingerprint(features(torch.zeros(4, dtype=torch.float64)))
    assert fingerprint(features(object())) is None


def test_inputs_without_a_fingerprint_are_not_kept(kit, failing_inputs):
    nameless = kit.request([1], features={"a": object()})
    failing_inputs.record([nameless])
    assert failing_inputs.seconds_left(nameless) == 0.0
    failing_inputs.record([nameless, kit.request([2])])
    suspect = kit.request([2])
    assert (failing_inputs.seconds_left(suspect), suspect.group == "text") == (0.0, False)
