"""The benchmark of shared prefixes with a small model: figures and table, not speed."""

import argparse

import prefix
import pytest

SMALL_CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
}


@pytest.mark.slow
def test_both_configurations_return_the_same_scores(tmp_path):
    options = argparse.Namespace(short=False, documents=3, rounds=2, dtype="float32", folder=tmp_path)
    result = prefix.measure(options, {**prefix.QWEN3_06B, **SMALL_CONFIG})
    for tokens in prefix.DOCUMENT_TOKENS:
        comparison = result[f"{tokens} tokens"]
        shared, separate = (comparison["rows"][name] for name in (prefix.SHARED, prefix.SEPARATE))
        assert comparison["relative_difference"] <= 1e-5
        assert comparison["relative_difference_of_other_query"] >= 1e-3
        assert separate["computed"] == separate["tokens"] == shared["tokens"] > 3 * tokens
        assert shared["computed"] < shared["tokens"]
        assert comparison["speedup"]["cpu"]["median"] > 0
    assert len({row.count("|") for row in prefix.table(result).splitlines()[2:]}) == 1
    assert "| 64 tokens | shared prefix |" in prefix.table(result)
