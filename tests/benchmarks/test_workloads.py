"""The texts of benchmarks: the same for the same seed, as long as promised, their work counted as torch does."""

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


@pytest.mark.parametrize("make", MAKERS)
def test_a_seed_gives_the_same_texts_and_another_gives_others(make, tokenizer):
    first = make(tokenizer, 20)
    assert make(tokenizer, 20) == first
    assert make(tokenizer, 20).fingerprint == first.fingerprint
    other = make(tokenizer, 20, seed=1)
    assert set(other.texts).isdisjoint(first.texts)
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("make", MAKERS)
def test_lengths_are_those_of_the_tokenizer(make, tokenizer):
    made = make(tokenizer, 30)
    assert len(made.texts) == len(made.lengths) == 30
    assert [min(len(tokenizer.encode(text).ids), 256) for text in made.texts] == list(made.lengths)


def test_lengths_are_as_promised(tokenizer):
    mixed = workloads.prose(tokenizer, 400).lengths
    assert min(mixed) >= 4  # a word that was cut in two may become one token
    assert max(mixed) <= 256
    assert 50 < np.mean(mixed) < 70
    assert np.std(mixed) > 30
    assert min(workloads.full_length(tokenizer, 30).lengths) >= 250
    short = workloads.short(tokenizer, 200).lengths
    assert (min(short) >= 7, max(short) <= 13) == (True, True)
    assert 9 < np.mean(short) < 11


def test_code_has_more_tokens_a_character_here_and_fewer_there_than_prose(tokenizer):
    assert workloads.documentation(tokenizer, 600).padding() > workloads.prose(tokenizer, 600).padding()


@pytest.mark.parametrize("length", [3, 17])
def test_work_is_what_torch_counts(length):
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
