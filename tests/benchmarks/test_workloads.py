"""The texts of benchmarks: reproducible, of the documented lengths, and with the FLOPs that torch counts."""

import numpy as np
import pytest
import torch
import workloads
from models import minilm
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

MAKERS = [workloads.prose, workloads.documentation, workloads.full_length, workloads.short]


@pytest.fixture(scope="module")
def tokenizer():
    return minilm().tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_texts_depend_only_on_the_seed(make, tokenizer):
    first = make(tokenizer, 20)
    assert make(tokenizer, 20) == first
    assert make(tokenizer, 20).fingerprint == first.fingerprint
    other = make(tokenizer, 20, seed=1)
    assert set(other.texts).isdisjoint(first.texts)
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("make", MAKERS)
def test_lengths_match_the_tokenizer(make, tokenizer):
    workload = make(tokenizer, 30)
    assert len(workload.texts) == len(workload.lengths) == 30
    assert [min(len(tokenizer.encode(text).ids), 256) for text in workload.texts] == list(workload.lengths)


@pytest.mark.slow
def test_lengths_have_the_documented_distribution(tokenizer):
    mixed = workloads.prose(tokenizer, 400).lengths
    assert min(mixed) >= 4  # a split word may become one token
    assert max(mixed) <= 256
    assert 50 < np.mean(mixed) < 70
    assert np.std(mixed) > 30
    assert min(workloads.full_length(tokenizer, 30).lengths) >= 250
    short = workloads.short(tokenizer, 200).lengths
    assert (min(short) >= 7, max(short) <= 13) == (True, True)
    assert 9 < np.mean(short) < 11


@pytest.mark.slow
def test_documentation_needs_more_padding_than_prose(tokenizer):
    assert workloads.documentation(tokenizer, 600).padding() > workloads.prose(tokenizer, 600).padding()


@pytest.mark.parametrize("length", [3, 17])
def test_flops_equal_those_counted_by_torch(length):
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        attn_implementation="eager",
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, length, dtype=torch.long))
    workload = workloads.Workload("two", ("a", "b"), (length, length))
    assert workload.flops(hidden=16, inner=24, layers=2) == 2 * counter.get_total_flops()
