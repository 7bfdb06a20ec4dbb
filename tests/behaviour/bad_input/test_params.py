"""Test PoolingParams for each prompt, and errors of invalid ones."""

import numpy as np
import pytest

from millpond import InvalidInputError, PoolingParams


def test_each_prompt_has_its_own_parameters(tiny_bert, arrays):
    params = [
        PoolingParams(use_activation=False),
        None,
        PoolingParams(truncate_prompt_tokens=3),
        PoolingParams(truncate_prompt_tokens=3, truncation_side="left"),
    ]
    for given_params in (params, tuple(params)):
        outputs = tiny_bert.embed(["the old cat"] * 4, pooling_params=given_params)
        assert [output.num_prompt_tokens for output in outputs] == [5, 5, 3, 3]
        assert np.linalg.norm(outputs[0].outputs.array) != pytest.approx(1, abs=1e-3)
        assert np.allclose(np.linalg.norm(arrays(outputs[1:]), axis=1), 1, atol=1e-5)
        assert outputs[2].prompt_token_ids[1] != outputs[3].prompt_token_ids[1]


def test_parameters_take_precedence_over_arguments_of_the_call(tiny_bert):
    params = [PoolingParams(truncate_prompt_tokens=3), None]
    outputs = tiny_bert.embed(["the old cat"] * 2, pooling_params=params, truncate_prompt_tokens=4)
    assert [output.num_prompt_tokens for output in outputs] == [3, 4]
    assert params == [PoolingParams(truncate_prompt_tokens=3), None]


def test_the_parameters_of_the_caller_are_not_changed(tiny_bert):
    params = PoolingParams(use_activation=False)
    tiny_bert.embed("the cat", pooling_params=params, truncate_prompt_tokens=5)
    assert params == PoolingParams(use_activation=False)
    assert params.model_fields_set == {"use_activation"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_parameters_is_refused(tiny_bert, count):
    with pytest.raises(
        InvalidInputError, match=rf"The lengths of prompts \(2\) and params \({count}\) must be the same\."
    ):
        tiny_bert.embed(["a", "b"], pooling_params=[PoolingParams()] * count)


@pytest.mark.parametrize(
    "given_params", [{"dimensions": 8}, 5, "x", [5, 5], [PoolingParams(), {"dimensions": 8}], PoolingParams], ids=repr
)
@pytest.mark.parametrize("truncate", [None, 5])
def test_other_types_than_pooling_params_are_refused(tiny_bert, given_params, truncate):
    with pytest.raises(InvalidInputError, match="pooling_params must be PoolingParams") as caught:
        tiny_bert.embed(["a", "b"], pooling_params=given_params, truncate_prompt_tokens=truncate)
    assert caught.value.parameter == "pooling_params"


def test_errors_of_parameters_contain_the_index_of_the_prompt(tiny_bert):
    params = [None, PoolingParams(dimensions=8), None]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: .*does not support matryoshka representation"):
        tiny_bert.embed(["a", "b", "c"], pooling_params=params)


@pytest.mark.parametrize("name", ["step_tag_id", "returned_token_ids"])
def test_parameters_of_another_pooling_type_are_refused(tiny_bert, name):
    params = PoolingParams(**{name: 3 if name == "step_tag_id" else (3,)})
    with pytest.raises(
        InvalidInputError, match=rf"Task embed only supports .* does not support \['{name}'\] parameters"
    ):
        tiny_bert.embed("a", pooling_params=params)


def test_other_invalid_arguments_are_refused(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"on_error='ignore': expected one of 'raise', 'return'"):
        tiny_bert.embed("a", on_error="ignore")
    with pytest.raises(
        InvalidInputError,
        match=r"^Got lora_request <object .*> but LoRA is not enabled! lora_request is not supported: merge",
    ):
        tiny_bert.embed("a", lora_request=object())
    assert len(tiny_bert.embed(["a", "b"], lora_request=[None, None])) == 2
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        tiny_bert.embed("a", pooling_parameters=None)
