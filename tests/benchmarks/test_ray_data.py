"""The figures of the benchmark of Ray Data, from given durations. tests/plugins/millpond_ray runs it with Ray."""

import pytest
from ray_data import Seconds, figures_of
from tables import ray_data


def test_speed_is_that_of_the_additional_texts():
    runs = {"runner": [Seconds(2.0, 12.0)], "one actor": [Seconds(8.0, 28.0)], "one peer": [Seconds(9.0, 49.0)]}
    figures = figures_of(runs, few=10, total=110)
    rates = {name: row["rows_per_second"]["median"] for name, row in figures["rows"].items()}
    assert rates == pytest.approx({"runner": 10, "one actor": 5, "one peer": 2.5})
    assert figures["rows"]["one actor"]["few_seconds"]["median"] == 8
    ratios = {name: ratio["median"] for name, ratio in figures["ratios"].items()}
    assert ratios == pytest.approx({"one actor / Runner": 0.5, "one actor / SentenceTransformer": 2})
    text = ray_data({**figures, "workload": "W1p", "model": "MiniLM", "texts": 110, "batch_rows": 5})
    assert "| `Runner`, no Ray | 10.0 [10.0-10.0] | 2.0 [2.0-2.0] |" in text
    assert "| one actor / SentenceTransformer | 2.00 [2.00-2.00] |" in text
