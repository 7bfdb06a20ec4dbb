"""A task that the model does not serve, none at all, or two that contradict each other."""

import pytest

from millpond import InvalidInputError, PoolingParams


def test_encode_asks_for_a_task(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"^pooling_task required for `LLM\.encode`\.\n.*token_embed"):
        tiny_bert.encode("a")


@pytest.mark.parametrize(
    ("task", "said"),
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
def test_a_task_that_the_model_does_not_serve_is_refused(tiny_bert, task, said):
    with pytest.raises(InvalidInputError, match=said) as caught:
        tiny_bert.encode("a", pooling_task=task)
    assert caught.value.parameter == "pooling_task"


def test_the_task_may_stand_in_the_parameters_and_not_contradict_the_call(tiny_bert):
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


def test_the_task_may_stand_in_the_models_config(checkpoint, load):
    llm = load(checkpoint, pooler_config={"task": "token_embed"})
    assert llm.encode("a")[0].outputs.data.shape == (3, 32)
    assert llm.embed("a")[0].outputs.hidden_size == 32
