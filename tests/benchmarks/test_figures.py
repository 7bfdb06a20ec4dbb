"""Medians, ranges, ratios and quantiles."""

import numpy as np
import pytest
from figures import Spread, quantile, quantiles_of_rounds, quotients, rates
from hypothesis import given
from hypothesis import strategies as st

FLOATS = st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=30)


def test_spread_has_median_and_range():
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(median=3.0, low=1.0, high=10.0)
    assert Spread.of([2.0]).as_dict() == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_quotients_are_computed_per_round():
    # The last round is slow for both; the quotient of the medians would be 1.5.
    assert quotients([2.0, 4.0, 30.0], [1.0, 4.0, 10.0]) == Spread(median=2.0, low=1.0, high=3.0)


def test_quotients_require_equal_numbers_of_rounds():
    with pytest.raises(ValueError, match="longer"):
        quotients([1.0], [1.0, 2.0])


def test_rates_are_per_second():
    assert rates(100, [4.0, 1.0, 2.0]) == Spread(median=50.0, low=25.0, high=100.0)


@given(FLOATS, st.floats(0.0, 1.0))
def test_quantiles_equal_those_of_numpy(values, share):
    assert quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-9)


def test_quantile_of_rounds_uses_all_values_and_its_range_single_rounds():
    assert quantiles_of_rounds([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]], 0.5) == Spread(median=4.0, low=2.0, high=6.0)
