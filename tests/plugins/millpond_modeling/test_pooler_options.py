"""Options that IO processors pass to built-in poolers in ``extra_kwargs``."""

import pytest

from millpond.types.params import PoolingParams
from millpond_modeling.pooler_options import RouteOptions, SparseOptions, add_options


@pytest.mark.parametrize(
    "options",
    [
        SparseOptions(),
        SparseOptions(as_terms=True),
        SparseOptions(as_terms=True, max_active_dims=7),
        RouteOptions(),
        RouteOptions("query"),
    ],
    ids=str,
)
def test_options_are_read_as_they_were_added(options):
    params = add_options(PoolingParams(dimensions=4, extra_kwargs={"temperature": 2}), options)
    assert type(options).read(params) == options
    assert (params.dimensions, params.extra_kwargs["temperature"]) == (4, 2)


def test_adding_options_does_not_change_the_original():
    params = PoolingParams()
    add_options(params, RouteOptions("query"))
    assert params.extra_kwargs is None


def test_values_of_other_types_are_ignored():
    params = PoolingParams(extra_kwargs={"max_active_dims": "7", "input_type": 3})
    assert SparseOptions.read(params) == SparseOptions()
    assert RouteOptions.read(params) == RouteOptions()
