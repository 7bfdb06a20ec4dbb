"""Differences between the results of Millpond and those of the reference, and whether they are within the tolerance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond_verify.inputs import Input

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_NEIGHBOURS = 10
TOLERANCES = {"float32": 1e-7, "float16": 1e-5, "bfloat16": 1e-3, "int8": 2e-2}
OTHER_TOLERANCE = 2e-2  # of quantizations of plugins
SIGNIFICANT_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The differences between the results of both sides for a part. A field that does not apply is None.

    Attributes:
        count: The number of inputs.
        max_cosine_distance: The maximum of 1 - cos of two vectors.
        mean_cosine_distance: The mean of the same.
        max_length_difference: The maximum difference of the lengths of two vectors, relative to the reference's.
        max_abs_difference: The maximum absolute difference of two numbers.
        max_relative_difference: The same, divided by the largest absolute number of the reference if it is above 1;
            for logits and scores.
        top_10_overlap: The mean fraction of the 10 nearest neighbours of an input that are equal.
        equal_labels: The number of inputs, or tokens, with the same most probable class.
        worst: The label of the input with the largest difference.
    """

    count: int
    max_cosine_distance: float | None = None
    mean_cosine_distance: float | None = None
    max_length_difference: float | None = None
    max_abs_difference: float
    max_relative_difference: float | None = None
    top_10_overlap: float | None = None
    equal_labels: int | None = None
    worst: str

    def problems(self, tolerance: float) -> list[str]:
        """Return the differences that exceed the tolerance, in words.

        Vectors whose relative difference is e have a cosine distance of up to e²/2, so lengths and numbers may differ
        by the square root of twice the tolerance.
        """
        relative = (2 * tolerance) ** 0.5
        limits = (
            ("the cosine distance is", self.max_cosine_distance, tolerance),
            ("the lengths of vectors differ by", self.max_length_difference, relative),
            ("the results differ by", self.max_relative_difference, relative),
        )
        return [
            f"{what} up to {value:.1e} ({self.worst}); the tolerance is {limit:.1e}"
            for what, value, limit in limits
            if value is not None and not value <= limit  # also for NaN
        ]


def default_tolerance(dtype: str, quantization: str | None) -> float:
    """Return the default maximum of the cosine distance."""
    return TOLERANCES.get(quantization or dtype, OTHER_TOLERANCE)


def shape_problem(
    actual: "Sequence[NDArray[Any]]", expected: "Sequence[NDArray[Any]]", inputs: Sequence[Input]
) -> str | None:
    """Return the first difference between the shapes of results, in words; None if they are equal."""
    for one, other, it in zip(actual, expected, inputs, strict=True):
        if one.shape != other.shape:
            return f"{it.label}: the shape is {list(one.shape)}, that of the reference is {list(other.shape)}"
    return None


def compare(
    results: str,
    actual: "Sequence[NDArray[Any]]",
    expected: "Sequence[NDArray[Any]]",
    inputs: Sequence[Input],
    *,
    similarity: str = "cosine",
) -> Measures:
    """Measure the differences between results of equal shapes.

    Args:
        results: The kind of results, as in ``Kind``.
        actual: Millpond's results.
        expected: The reference's results.
        inputs: The inputs.
        similarity: The similarity function for nearest neighbours: "dot", or the cosine.
    """
    one, other = (
        [np.asarray(rows, dtype=np.float64).reshape(-1, rows.shape[-1] if rows.ndim else 1) for rows in side]
        for side in (actual, expected)
    )
    absolute = [float(np.abs(a - b).max(initial=0)) for a, b in zip(one, other, strict=True)]
    if results not in ("vectors", "rows"):
        return _compare_numbers(one, other, absolute, inputs, has_classes=results != "scores")
    distances = [_cosine_distances(a, b) for a, b in zip(one, other, strict=True)]
    lengths = [_length_differences(a, b) for a, b in zip(one, other, strict=True)]
    worst = _worst([float(it.max(initial=0)) for it in distances])
    return Measures(
        count=len(inputs),
        max_cosine_distance=_rounded(np.concatenate(distances).max(initial=0)),
        mean_cosine_distance=_rounded(np.concatenate(distances).mean()),
        max_length_difference=_rounded(np.concatenate(lengths).max(initial=0)),
        max_abs_difference=_rounded(np.max(absolute)),
        top_10_overlap=_overlap(one, other, similarity) if results == "vectors" else None,
        worst=inputs[worst].label,
    )


def _compare_numbers(
    one: "Sequence[NDArray[Any]]",
    other: "Sequence[NDArray[Any]]",
    absolute: Sequence[float],
    inputs: Sequence[Input],
    *,
    has_classes: bool,
) -> Measures:
    largest = max(1.0, *(float(np.abs(rows).max(initial=0)) for rows in other))
    labels = [int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(one, other, strict=True)]
    return Measures(
        count=len(inputs),
        max_abs_difference=_rounded(np.max(absolute)),
        max_relative_difference=_rounded(np.max(absolute) / largest),
        top_10_overlap=None if has_classes else _best_overlap(np.concatenate(one), np.concatenate(other)),
        equal_labels=sum(labels) if has_classes else None,
        worst=inputs[_worst(absolute)].label,
    )


def _cosine_distances(actual: "NDArray[Any]", expected: "NDArray[Any]") -> "NDArray[Any]":
    """Return 1 - cos of each pair of rows; 0 for two zero vectors, 1 for one of them."""
    norms = np.linalg.norm(actual, axis=1), np.linalg.norm(expected, axis=1)
    product = norms[0] * norms[1]
    cosines = np.divide((actual * expected).sum(axis=1), product, out=np.zeros_like(product), where=product != 0)
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    return np.where(both_zero, 0.0, np.maximum(1 - cosines, 0))


def _length_differences(actual: "NDArray[Any]", expected: "NDArray[Any]") -> "NDArray[Any]":
    lengths = np.linalg.norm(expected, axis=1)
    differences: NDArray[Any] = np.abs(np.linalg.norm(actual, axis=1) - lengths) / np.where(lengths == 0, 1, lengths)
    return differences


def _worst(values: Sequence[float]) -> int:
    """Return the index of the largest value; NaN counts as the largest."""
    return int(np.argmax(np.nan_to_num(values, nan=np.inf)))


def _overlap(actual: "Sequence[NDArray[Any]]", expected: "Sequence[NDArray[Any]]", similarity: str) -> float:
    """Return the mean fraction of equal nearest neighbours among the inputs."""
    ours, theirs = (_neighbours(np.concatenate(rows), similarity) for rows in (actual, expected))
    shared = [len(a & b) / max(1, len(b)) for a, b in zip(ours, theirs, strict=True)]
    return _rounded(np.mean(shared))


def _neighbours(vectors: "NDArray[Any]", similarity: str) -> list[set[int]]:
    if similarity != "dot":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(lengths == 0, 1, lengths)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    count = min(NUM_NEIGHBOURS, len(vectors) - 1)
    return [set(row[:count].tolist()) for row in np.argsort(-scores, axis=1, kind="stable")]


def _best_overlap(actual: "NDArray[Any]", expected: "NDArray[Any]") -> float:
    """Return the fraction of the pairs with the best scores that are equal."""
    best = [set(np.argsort(-rows[:, 0], kind="stable")[:NUM_NEIGHBOURS].tolist()) for rows in (actual, expected)]
    return _rounded(len(best[0] & best[1]) / max(1, len(best[1])))


def _rounded(value: Any) -> float:
    """Return a number with few digits: the last ones differ between machines."""
    return float(f"{float(value):.{SIGNIFICANT_DIGITS - 1}e}")
