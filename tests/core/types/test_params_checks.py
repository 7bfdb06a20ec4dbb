"""``PoolingParams.verify``: parameters are checked against a model, or an object with some of its attributes."""

from types import SimpleNamespace

import pytest

from millpond import InvalidInputError, LateChunkingParams, PoolerConfig, PoolingParams

PLAIN = SimpleNamespace(pooler_config=PoolerConfig(seq_pooling_type="CLS"))
STEP = SimpleNamespace(pooler_config=PoolerConfig(tok_pooling_type="STEP"))
MATRYOSHKA = SimpleNamespace(
    pooler_config=PoolerConfig(), model="m", embedding_size=32, is_matryoshka=True, matryoshka_dimensions=(8, 16)
)


@pytest.mark.parametrize("task", ["embed", "token_embed", "classify", "token_classify", "plugin", None])
@pytest.mark.parametrize("use_activation", [None, True, False])
def test_parameters_of_the_task_are_accepted(task, use_activation):
    params = PoolingParams(task=task, use_activation=use_activation, skip_reading_prefix_cache=True)
    params.verify(PLAIN)
    assert params == PoolingParams(task=task, use_activation=use_activation, skip_reading_prefix_cache=True)


@pytest.mark.parametrize(
    ("task", "fields", "model"),
    [
        ("embed", {"step_tag_id": 1}, PLAIN),
        ("embed", {"returned_token_ids": [1]}, STEP),
        ("classify", {"dimensions": 8}, PLAIN),
        ("token_embed", {"step_tag_id": 1}, PLAIN),
        ("token_classify", {"dimensions": 8}, STEP),
        ("token_classify", {"returned_token_ids": [1]}, PLAIN),
    ],
    ids=str,
)
def test_parameters_of_other_tasks_are_refused_with_vllms_messages(task, fields, model):
    (name,) = fields
    message = rf"Task '{task}' only supports \[.*'use_activation'.*\] parameters, does not support \['{name}'\]"
    with pytest.raises(InvalidInputError, match=message) as caught:
        PoolingParams(task=task, **fields).verify(model)
    assert caught.value.parameter == name


@pytest.mark.parametrize("task", ["token_embed", "token_classify"])
def test_steps_are_of_models_that_pool_them(task):
    PoolingParams(task=task, step_tag_id=1, returned_token_ids=[1]).verify(STEP)


@pytest.mark.parametrize(
    ("model", "dimensions", "message"),
    [
        (PLAIN, 8, "does not support Matryoshka embeddings; dimensions must be unset"),
        (MATRYOSHKA, 64, r"only supports dimensions in range \[1, 32\], got 64\."),
        (MATRYOSHKA, 9, r"only supports Matryoshka dimensions \[8, 16\], got 9\."),
    ],
    ids=str,
)
def test_dimensions_that_the_model_lacks_are_refused(model, dimensions, message):
    with pytest.raises(InvalidInputError, match=message):
        PoolingParams(task="embed", dimensions=dimensions).verify(model)
    for accepted in (8, 32):
        PoolingParams(task="embed", dimensions=accepted).verify(MATRYOSHKA)


@pytest.mark.parametrize("task", ["embed", "classify", "token_classify", "plugin", None])
def test_late_chunking_is_of_token_embed(task):
    asked = LateChunkingParams(2)
    with pytest.raises(InvalidInputError, match="Late chunking requires token_embed"):
        PoolingParams(task=task, late_chunking_params=asked).verify(PLAIN)
    PoolingParams(task="token_embed", late_chunking_params=asked).verify(PLAIN)


def test_a_loaded_model_is_checked_against_as_well(tiny_bert):
    PoolingParams(task="embed", dimensions=32).verify(tiny_bert.model_config)
    with pytest.raises(InvalidInputError, match="does not support Matryoshka"):
        PoolingParams(task="embed", dimensions=8).verify(tiny_bert.model_config)


def test_the_task_may_come_first_as_older_code_passes_it():
    PoolingParams(dimensions=8).verify("embed", MATRYOSHKA)
    PoolingParams(task="embed").verify(task="embed", model_config=PLAIN)
    PoolingParams(task="embed").verify(model_config=PLAIN)
    with pytest.raises(InvalidInputError, match="Task 'classify' only supports"):
        PoolingParams(dimensions=8).verify("classify", MATRYOSHKA)
    with pytest.raises(InvalidInputError, match=r"^You cannot overwrite self\.task='embed' with task='classify'!$"):
        PoolingParams(task="embed").verify("classify", PLAIN)
