"""What the tests of bad input share: the vectors of outputs."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def arrays():
    """The vectors of outputs, one below the other."""

    def arrays(outputs):
        return np.stack([output.outputs.array for output in outputs])

    return arrays
