"""STEP pools only the tokens that end a step; returned_token_ids selects classes, never hidden dimensions."""

import numpy as np
import pytest
import torch

from millpond import InvalidInputError, PoolingParams
from millpond.nn import PoolingMetadata
from millpond_modeling.classifier import LogitScaling, TokenLogits

TAG = 9
IDS = [1, TAG, 2, TAG, TAG, 3, 4, 5, TAG, 6]
LENGTHS = (4, 1, 3, 2)  # the steps in each: 2, 1, 0, 1
STEPS = [[1, 3], [4], [], [8]]


def states(width=6, seed=0):
    return torch.randn(len(IDS), width, generator=torch.Generator().manual_seed(seed))


def metadata(params):
    each = list(params) if isinstance(params, list) else [params] * len(LENGTHS)
    return PoolingMetadata(lengths=LENGTHS, input_ids=torch.tensor(IDS), params=tuple(each))


def softmax(rows):
    return torch.softmax(rows.double(), dim=-1).numpy()


class Recorded(torch.nn.Module):
    """A linear head that records the number of its input rows."""

    def __init__(self, width=6, labels=3):
        super().__init__()
        self.linear = torch.nn.Linear(width, labels).requires_grad_(requires_grad=False)
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        return self.linear(x)


class Vocabulary(TokenLogits):
    """A head for token logits that records the requested tokens."""

    def __init__(self, width=6, tokens=20):
        super().__init__()
        self.weight = torch.randn(tokens, width, generator=torch.Generator().manual_seed(3))
        self.asked = []

    def forward(self, x, token_ids):
        self.asked.append((len(x), tuple(token_ids)))
        return x @ self.weight[list(token_ids)].T


@pytest.fixture
def step(build):
    """Build a STEP pooler with a head and the softmax."""

    def step(head=None, task="token_classify", activation="softmax"):
        return build("STEP", task=task, head=head, activation=activation)

    return step


def worst(actual, expected):
    assert [tuple(rows.shape) for rows in actual] == [tuple(rows.shape) for rows in expected]
    return max(float(np.abs(one.numpy() - other).max(initial=0)) for one, other in zip(actual, expected, strict=True))


def test_the_head_sees_only_the_rows_of_the_tag(step):
    head, hidden = Recorded(), states()
    steps = step(head)(hidden, metadata(PoolingParams(step_tag_id=TAG)))
    assert head.seen == [4]
    assert worst(steps, [softmax(head.linear(hidden[places])) for places in STEPS]) <= 1e-6
    assert [rows.shape for rows in steps] == [(2, 3), (1, 3), (0, 3), (1, 3)]


def test_without_a_tag_every_row_is_kept(step):
    head, hidden = Recorded(), states()
    steps = step(head)(hidden, metadata(PoolingParams()))
    assert worst(steps, [softmax(rows) for rows in head.linear(hidden).split(LENGTHS)]) <= 1e-6


def test_a_text_without_steps_has_no_rows(step):
    steps = step(Recorded())(states(), metadata(PoolingParams(step_tag_id=77)))
    assert [rows.shape for rows in steps] == [(0, 3)] * 4
    wanted = PoolingParams(step_tag_id=77, returned_token_ids=(1, 0))
    assert [rows.shape for rows in step(Recorded())(states(), metadata(wanted))] == [(0, 2)] * 4
    assert [rows.shape for rows in step(Vocabulary())(states(), metadata(wanted))] == [(0, 2)] * 4


def test_each_sequence_has_its_own_parameters(step):
    head, hidden = Recorded(), states()
    params = [
        PoolingParams(step_tag_id=TAG, returned_token_ids=(2, 0)),
        PoolingParams(use_activation=False),
        PoolingParams(step_tag_id=4),
        PoolingParams(step_tag_id=TAG, use_activation=False, returned_token_ids=(1,)),
    ]
    logits = head.linear(hidden)
    expected = [
        softmax(logits[[1, 3]])[:, [2, 0]],
        logits[[4]].numpy(),
        softmax(logits[[6]]),
        logits[[8]][:, [1]].numpy(),
    ]
    assert worst(step(head)(hidden, metadata(params)), expected) <= 1e-6


def test_classes_are_chosen_out_of_the_activation_over_all(step):
    head, hidden = Recorded(), states()
    steps = step(head)(hidden, metadata(PoolingParams(step_tag_id=TAG, returned_token_ids=(1,))))
    assert worst(steps, [softmax(head.linear(hidden[places]))[:, [1]] for places in STEPS]) <= 1e-6
    assert float(steps[0].max()) < 1


def test_only_the_requested_logits_of_a_vocabulary_are_computed(step):
    head, hidden = Vocabulary(), states()
    steps = step(head)(hidden, metadata(PoolingParams(step_tag_id=TAG, returned_token_ids=(17, 4))))
    assert head.asked == [(4, (17, 4))]
    expected = [softmax(hidden[places] @ head.weight[[17, 4]].T) for places in STEPS]
    assert worst(steps, expected) <= 1e-6


def test_requests_for_other_tokens_share_a_batch(step):
    head, hidden = Vocabulary(), states()
    params = [PoolingParams(returned_token_ids=ids, step_tag_id=TAG) for ids in ((1, 2), (3, 4, 5), (1, 2), (1, 2))]
    steps = step(head)(hidden, metadata(params))
    assert head.asked == [(3, (1, 2)), (1, (3, 4, 5))]
    expected = [
        softmax(hidden[places] @ head.weight[list(param.returned_token_ids)].T)
        for places, param in zip(STEPS, params, strict=True)
    ]
    assert worst(steps, expected) <= 1e-6


def test_logits_of_tokens_are_calibrated(registry, build, step):
    pooler = build("STEP", task="token_classify")
    assert pooler.takes_tokens is False
    head = Vocabulary()
    assert step(head).takes_tokens is True

    class Ctx:
        """The part of a context that LogitScaling reads."""

        class pooler_config:  # noqa: N801  an attribute of the context
            logit_mean, logit_bias, logit_sigma = 1.5, None, 2.0

    hidden = states()
    asked = PoolingParams(step_tag_id=TAG, returned_token_ids=(1, 2), use_activation=False)
    steps = step(LogitScaling(Ctx, head))(hidden, metadata(asked))
    expected = [((hidden[places] @ head.weight[[1, 2]].T - 1.5) / 2).numpy() for places in STEPS]
    assert worst(steps, expected) <= 1e-6


@pytest.mark.parametrize("wanted", [(3,), (0, 99)])
def test_an_unknown_class_is_refused_by_name(step, wanted):
    pooler = step(Recorded())
    pooler.num_labels = 3
    pooler.check(PoolingParams(returned_token_ids=(0, 2)))
    with pytest.raises(InvalidInputError, match=r"returned_token_ids=.*has 3 classes") as caught:
        pooler.check(PoolingParams(returned_token_ids=wanted))
    assert caught.value.parameter == "returned_token_ids"


def test_vectors_have_no_classes(step):
    pooler = step(task="token_embed", activation="normalize")
    hidden = states()
    steps = pooler(hidden, metadata(PoolingParams(step_tag_id=TAG)))
    assert worst(steps, [torch.nn.functional.normalize(hidden[places]).numpy() for places in STEPS]) <= 1e-6
    with pytest.raises(InvalidInputError, match="task token_embed returns vectors") as caught:
        pooler.check(PoolingParams(step_tag_id=TAG, returned_token_ids=(0, 1)))
    assert caught.value.parameter == "returned_token_ids"


def test_a_sequence_is_pooled_as_if_it_were_alone(step):
    head, hidden = Recorded(), states()
    together = step(head)(hidden, metadata(PoolingParams(step_tag_id=TAG)))
    starts = np.cumsum([0, *LENGTHS])
    for index, length in enumerate(LENGTHS):
        rows = slice(starts[index], starts[index + 1])
        alone = PoolingMetadata(
            lengths=(length,), input_ids=torch.tensor(IDS[rows]), params=(PoolingParams(step_tag_id=TAG),)
        )
        assert torch.allclose(step(head)(hidden[rows], alone)[0], together[index], atol=1e-6)


def test_results_are_float32_for_every_dtype_of_the_model(step):
    steps = step(Recorded())(states().bfloat16(), metadata(PoolingParams(step_tag_id=TAG)))
    assert {rows.dtype for rows in steps} == {torch.float32}
