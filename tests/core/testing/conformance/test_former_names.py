"""Former names of the test kit work with a DeprecationWarning."""

import pytest

from millpond.testing import kernel_cases
from millpond.testing.conformance import PoolerConformance


class MeanPooling(PoolerConformance):
    """The conformance class of a built-in pooler; its name keeps pytest from collecting it."""

    name = "MEAN"
    longest = 65


class FormerMeanPooling(MeanPooling):
    """A subclass that overrides ``build`` with its former argument."""

    def build(self, task, *, dtype="float32", deterministic=False):
        return super().build(task, dtype=dtype, batch_invariant=deterministic)


def test_build_accepts_its_former_argument():
    with pytest.warns(DeprecationWarning, match="deterministic was renamed: pass batch_invariant"):
        pooler = MeanPooling().build("embed", deterministic=True)
    assert type(pooler) is type(MeanPooling().build("embed"))


def test_an_override_of_build_may_declare_its_former_argument():
    with pytest.warns(DeprecationWarning, match="build: the argument deterministic was renamed"):
        FormerMeanPooling().test_sequences_are_independent(("embed",), batch_invariant=True)


def test_the_former_name_of_op_options_works():
    with pytest.warns(DeprecationWarning, match="import OpOptions"):
        assert kernel_cases.Setting is kernel_cases.OpOptions
