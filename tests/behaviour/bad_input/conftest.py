"""Fixture for tests of invalid input: the vectors of outputs."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def arrays():
    """Return a function that stacks the vectors of outputs: [num_outputs, hidden_size]."""

    def arrays(outputs):
        return np.stack([output.outputs.array for output in outputs])

    return arrays
