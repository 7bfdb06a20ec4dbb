"""Tests of the activation addon_name."""

import torch
from addon_package.functions import addon_name
from millpond.testing.conformance import ActivationConformance


class TestAddonName(ActivationConformance):
    """The requirements of Millpond's plugin API."""

    name = "addon_name"


def test_values():
    """Compare with values computed by hand."""
    assert addon_name(torch.tensor([-1.0, 0.0, 3.0])).tolist() == [-0.5, 0.0, 0.75]
