"""Test calls with an unsupported task, without a task, and with two different tasks."""

import pytest

from millpond import InvalidInputError, PoolingParams


def test_encode_requires_a_task(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"^pooling_task required for `LLM\.encode`\.\n.*token_embed"):
        tiny_bert.encode("a")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("classify", "Classification API is not supported by this model. Try converting .*`--convert classify`"),
        ("token_classify", "Classification API is not supported by this model"),
        ("plugin", r"No IOProcessor plugin installed.*io_processor_plugin='NAME'"),
        (
            "embedd",
            r"Unsupported task: 'embedd' Supported tasks: \('embed', .*'score'\)\..*did you mean 'embed'",
        ),
        (5, "Unsupported task: 5"),
        (["embed"], r"Unsupported task: \['embed'\]"),
    ],
    ids=repr,
)
def test_an_unsupported_task_is_refused(tiny_bert, task, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        tiny_bert.encode("a", pooling_task=task)
    assert caught.value.parameter == "pooling_task"


def test_the_task_in_the_parameters_must_match_the_call(tiny_bert):
    (output,) = tiny_bert.encode("a", PoolingParams(task="token_embed"))
    assert output.outputs.data.shape == (3, 32)
    message = "You cannot overwrite param.task='token_embed' with pooling_task='embed'!"
    for call in (
        lambda: tiny_bert.encode("a", PoolingParams(task="token_embed"), pooling_task="embed"),
        lambda: tiny_bert.embed("a", pooling_params=PoolingParams(task="token_embed")),
        lambda: tiny_bert.embed(["a", "b"], pooling_params=[None, PoolingParams(task="token_embed")]),
    ):
        with pytest.raises(InvalidInputError, match=message):
            call()


def test_pooler_config_sets_the_default_task(checkpoint, load):
    llm = load(checkpoint, pooler_config={"task": "token_embed"})
    assert llm.encode("a")[0].outputs.data.shape == (3, 32)
    assert llm.embed("a")[0].outputs.hidden_size == 32
