"""Batches without the repeated tokens of prefixes: attention and hidden states equal those of complete sequences."""

import numpy as np
import pytest
import torch

from millpond.nn import Attention, PackedBatch
from millpond.nn.shared_rows import PrefixGroup, share_rows
from millpond.plugin.manager import PluginManager
from millpond.testing.contexts import bare_context

PREFIX = list(range(100, 120))
OTHER = list(range(200, 217))
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16
VARIANTS = ({}, {"window": 7}, {"window": 30}, {"softcap": 5.0}, {"window": 9, "softcap": 5.0}, {"scale": 0.3})


def packed(*sequences):
    return PackedBatch.pack([torch.tensor(sequence) for sequence in sequences])


def states_of(batch, heads):
    """Random values that only depend on the id and the position of a token, like those of the first layer."""
    table = torch.randn((400, heads, HEAD_DIM), generator=torch.Generator().manual_seed(heads))
    return table[batch.input_ids] + table[batch.positions] / 2


def attend(attention, batch):
    return attention(states_of(batch, HEADS), states_of(batch, KV_HEADS), states_of(batch, KV_HEADS) * 2, batch)


@pytest.fixture(scope="module")
def make_attention():
    ctx = bare_context(PluginManager(ranks=("builtin",), disabled=()).registry)
    return lambda **variant: Attention(ctx, head_dim=HEAD_DIM, causal=True, **variant)


# --- the rows of a batch ----------------------------------------------------------------------------------------------


def test_the_first_sequence_computes_the_prefix():
    complete = packed([*PREFIX, 1], [7, 8], [*PREFIX, 2, 3])
    batch = share_rows(complete, [PrefixGroup(20, [0, 2])])
    assert batch.lengths == (21, 2, 2)
    assert batch.input_ids.tolist() == [*PREFIX, 1, 7, 8, 2, 3]
    assert batch.positions.tolist() == [*range(21), 0, 1, 20, 21]
    assert batch.shared.num_missing == 20
    assert batch.max_length == 22


def test_no_sequence_computes_a_prefix_with_known_states(make_attention):
    group = PrefixGroup(20, [0])
    batch = share_rows(packed([*PREFIX, 1]), [group])
    assert batch.shared.num_missing == 0
    attend(make_attention(), batch)
    batch.shared.complete_hidden_states(torch.zeros(21, 3))
    assert group.states.hidden_states.shape == (20, 3)
    assert [keys.shape for keys in group.states.keys] == [(20, KV_HEADS, HEAD_DIM)]
    again = share_rows(packed([5], [*PREFIX, 2, 3]), [PrefixGroup(20, [1], group.states)])
    assert again.lengths == (1, 2)
    assert again.positions.tolist() == [0, 20, 21]
    assert again.shared.num_missing == 20


def test_token_types_and_features_stay_with_their_sequence():
    sequences = [torch.tensor([*PREFIX, 1]), torch.tensor([5, 6]), torch.tensor([*PREFIX, 2])]
    types = [None, torch.tensor([1, 1]), None]
    complete = PackedBatch.pack(sequences, token_type_ids=types, features=[{}, {"num_attended": 1}, {}])
    batch = share_rows(complete, [PrefixGroup(20, [0, 2])])
    assert batch.token_type_ids.tolist() == [0] * 21 + [1, 1, 0]
    assert batch.num_masked == complete.num_masked == (0, 1, 0)


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_attention_equals_that_of_complete_sequences(make_attention, variant):
    attention = make_attention(**variant)
    complete = packed([*PREFIX, 1], [9] * 30, [*PREFIX, 2, 3], [*OTHER, 4], [*PREFIX, 5, 6], [*OTHER, 1, 2, 3])
    batch = share_rows(complete, [PrefixGroup(20, [0, 2, 4]), PrefixGroup(17, [3, 5])])
    expected = attend(attention, complete)
    torch.testing.assert_close(attend(attention, batch), expected[batch.shared.computed])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_attention_with_known_states_equals_that_of_complete_sequences(make_attention, variant):
    layers = [make_attention(**variant), make_attention()]
    groups = [PrefixGroup(20, [0]), PrefixGroup(17, [1])]
    first = share_rows(packed([*PREFIX, 1], [*OTHER, 2, 3]), groups)
    for attention in layers:
        attend(attention, first)
    first.shared.complete_hidden_states(states_of(first, KV_HEADS).flatten(1))
    complete = packed([*OTHER, 4], [7, 8], [*PREFIX, 5, 6], [*PREFIX, 1, 2, 3])
    known, new = (PrefixGroup(group.length, [], group.states) for group in groups)
    known.members, new.members = [2, 3], [0]
    batch = share_rows(complete, [known, new])
    assert batch.lengths == (1, 2, 2, 3)
    for attention in layers:
        expected = attend(attention, complete)[batch.shared.computed]
        torch.testing.assert_close(attend(attention, batch), expected)


def test_states_are_copies(make_attention):
    """A view would keep the rows of the whole batch in memory."""
    group = PrefixGroup(20, [0, 1])
    batch = share_rows(packed([*PREFIX, 1], [*PREFIX, *range(50)]), [group])
    attend(make_attention(), batch)
    batch.shared.complete_hidden_states(torch.zeros(71, 8))
    (keys,), (values,), hidden_states = group.states
    for rows in (keys, values, hidden_states):
        assert rows.untyped_storage().nbytes() == rows.numel() * 4


# --- hidden states ----------------------------------------------------------------------------------------------------


def test_hidden_states_are_completed():
    complete = packed([*PREFIX, 1], [9], [*PREFIX, 2, 3], [*OTHER, 4])
    group = PrefixGroup(20, [0, 2])
    batch = share_rows(complete, [group])
    hidden = torch.stack([batch.input_ids, batch.positions], dim=1).float()
    expected = torch.stack([complete.input_ids, complete.positions], dim=1).float()
    assert torch.equal(batch.shared.complete_hidden_states(hidden), expected)
    again = share_rows(complete, [PrefixGroup(20, [0, 2], group.states)])
    hidden = torch.stack([again.input_ids, again.positions], dim=1).float()
    assert torch.equal(again.shared.complete_hidden_states(hidden), expected)


def test_many_groups_of_random_lengths_are_completed():
    random = np.random.default_rng(0)
    prefixes = [random.integers(0, 400, length).tolist() for length in (16, 40, 25)]
    sequences, groups = [], [PrefixGroup(len(prefix)) for prefix in prefixes]
    for index in range(60):
        tail = random.integers(0, 400, random.integers(1, 30)).tolist()
        number = int(random.integers(0, 4))
        if number < len(prefixes):
            groups[number].members.append(index)
            tail = [*prefixes[number], *tail]
        sequences.append(tail)
    complete = packed(*sequences)
    batch = share_rows(complete, groups)
    skipped = sum((len(group.members) - 1) * group.length for group in groups)
    assert batch.num_tokens == sum(batch.lengths) == complete.num_tokens - skipped
    rows = torch.stack([batch.input_ids, batch.positions], dim=1)
    assert torch.equal(
        batch.shared.complete_hidden_states(rows), torch.stack([complete.input_ids, complete.positions], dim=1)
    )
