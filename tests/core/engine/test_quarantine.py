"""Inputs that a model failed on: blocked for a while, or suspected and computed alone."""

import numpy as np
import pytest
import torch

from millpond.engine.quarantine import MOST, Quarantine, fingerprint
from millpond.types.params import PoolingParams


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quarantine(clock):
    return Quarantine(60.0, clock)


def test_what_failed_alone_is_blocked_for_so_many_seconds(kit, quarantine, clock):
    quarantine.accuse([kit.request([1, 2])])
    assert quarantine.seconds_left(kit.request([1, 2])) == 60.0
    assert quarantine.seconds_left(kit.request([2, 1])) == 0.0
    clock.now += 59
    assert quarantine.seconds_left(kit.request([1, 2])) == 1.0
    clock.now += 1
    assert quarantine.seconds_left(kit.request([1, 2])) == 0.0
    assert len(quarantine) == 0
    assert quarantine.seconds_left(kit.request([1, 2])) == 0.0


def test_of_several_each_is_computed_alone_until_it_was_computed(kit, quarantine):
    several = [kit.request([number]) for number in range(4)]
    quarantine.accuse(several)
    again = [kit.request([number]) for number in range(4)]
    assert [quarantine.seconds_left(request) for request in again] == [0.0] * 4
    assert len({request.group for request in again}) == 4
    again[0].results = [np.zeros(1, dtype=np.float32)]
    quarantine.acquit(again)
    free, suspect = kit.request([0]), kit.request([1])
    assert (quarantine.seconds_left(free), free.group) == (0.0, "text")
    assert (quarantine.seconds_left(suspect), suspect.group == "text") == (0.0, False)
    quarantine.accuse([suspect])
    assert quarantine.seconds_left(kit.request([1])) == 60.0


def test_equal_requests_that_fail_together_are_one(kit, quarantine):
    quarantine.accuse([kit.request([1]), kit.request([1])])
    assert quarantine.seconds_left(kit.request([1])) == 60.0


def test_without_seconds_nobody_is_kept(kit):
    quarantine = Quarantine()
    quarantine.accuse([kit.request([1])])
    assert (len(quarantine), quarantine.seconds_left(kit.request([1]))) == (0, 0.0)


def test_who_is_not_in_it_pays_little_for_it(kit, quarantine, monkeypatch):
    quarantine.accuse([kit.request([1])])
    monkeypatch.setattr("millpond.engine.quarantine.fingerprint", None)
    assert quarantine.seconds_left(kit.request([2])) == 0.0
    quarantine.acquit([kit.request([2], results=[np.zeros(1)])])
    assert len(quarantine) == 1


def test_of_too_many_the_oldest_are_forgotten(kit, quarantine):
    for number in range(MOST + 1):
        quarantine.accuse([kit.request([number])])
    assert len(quarantine) == MOST
    assert quarantine.seconds_left(kit.request([0])) == 0.0
    assert quarantine.seconds_left(kit.request([1])) == 60.0


def test_inputs_are_told_apart_by_all_that_the_model_reads_and_is_asked(kit):
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


def test_what_cannot_be_known_again_is_not_kept(kit, quarantine):
    nameless = kit.request([1], features={"a": object()})
    quarantine.accuse([nameless])
    assert quarantine.seconds_left(nameless) == 0.0
    quarantine.accuse([nameless, kit.request([2])])
    suspect = kit.request([2])
    assert (quarantine.seconds_left(suspect), suspect.group == "text") == (0.0, False)
