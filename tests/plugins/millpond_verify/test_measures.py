"""Measures of differences: values, tolerances, zero vectors, NaN, shapes."""

import numpy as np
import pytest

from millpond_verify.inputs import Input
from millpond_verify.measures import compare, default_tolerance, shape_problem

INPUTS = [Input(f"text {number}", "") for number in range(3)]
VECTORS = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], dtype=np.float32)


def rows(array):
    return [*np.asarray(array, dtype=np.float32)]


def test_equal_vectors_have_no_difference():
    measures = compare("vectors", rows(VECTORS), rows(VECTORS), INPUTS)
    assert measures.max_cosine_distance == measures.max_length_difference == measures.max_abs_difference == 0
    assert measures.top_10_overlap == 1
    assert measures.problems(0) == []


def test_the_cosine_distance_names_the_worst_input():
    changed = VECTORS.copy()
    changed[2] = [0, 1]
    measures = compare("vectors", rows(changed), rows(VECTORS), INPUTS)
    assert measures.max_cosine_distance == 1
    assert measures.mean_cosine_distance == pytest.approx(1 / 3, rel=1e-3)
    assert measures.problems(0.5) == ["the cosine distance is up to 1.0e+00 (text 2); the tolerance is 5.0e-01"]
    assert measures.problems(1) == []


def test_a_scale_is_a_difference_although_the_cosine_is_equal():
    measures = compare("vectors", rows(2 * VECTORS), rows(VECTORS), INPUTS)
    assert measures.max_cosine_distance < 1e-12
    assert measures.max_length_difference == 1
    (problem,) = measures.problems(1e-2)
    assert problem.startswith("the lengths of vectors differ by up to 1.0e+00")


def test_a_zero_vector_differs_from_another():
    changed = VECTORS.copy()
    changed[1] = [1, 1]
    assert compare("vectors", rows(changed), rows(VECTORS), INPUTS).max_cosine_distance == 1


@pytest.mark.parametrize("results", ["vectors", "logits"])
def test_nan_exceeds_every_tolerance(results):
    changed = VECTORS.copy()
    changed[0, 0] = np.nan
    measures = compare(results, rows(changed), rows(VECTORS), INPUTS)
    assert measures.worst == "text 0"
    assert measures.problems(1e9)


def test_logits_are_compared_relative_to_the_largest():
    measures = compare("logits", rows(VECTORS + 0.5), rows(VECTORS), INPUTS)
    assert (measures.max_abs_difference, measures.max_relative_difference) == (0.5, 0.125)
    assert measures.equal_labels == 3
    assert measures.problems(0.01) == []  # up to 14 percent
    assert measures.problems(0.001) == ["the results differ by up to 1.2e-01 (text 0); the tolerance is 4.5e-02"]


def test_labels_are_counted():
    changed = VECTORS.copy()
    changed[2] = [0, 1]
    assert compare("logits", rows(changed), rows(VECTORS), INPUTS).equal_labels == 2


def test_scores_are_compared_by_their_order_too():
    scores = [np.float32(it) for it in (0.1, 0.9, 0.5)]
    measures = compare("scores", scores, scores, INPUTS)
    assert (measures.max_abs_difference, measures.top_10_overlap, measures.equal_labels) == (0, 1, None)


def test_different_shapes_are_named():
    assert shape_problem(rows(VECTORS), rows(VECTORS), INPUTS) is None
    message = "text 0: the shape is [1], that of the reference is [2]"
    assert shape_problem(rows(VECTORS[:, :1]), rows(VECTORS), INPUTS) == message


def test_default_tolerances_grow_with_the_error_of_the_type():
    tolerances = [default_tolerance(it, None) for it in ("float32", "float16", "bfloat16")]
    assert tolerances == sorted(tolerances)
    assert default_tolerance("float32", "int8") > tolerances[-1]
