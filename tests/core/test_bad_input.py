"""Bad input gets a clear error that names the prompt, the parameter and the way out; and costs no other prompt."""

import json

import numpy as np
import pytest
import torch
import tqdm
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from millpond import LLM, EngineError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary

MANY, MEGABYTES = 300_000, 10_000_000


def arrays(outputs):
    return np.stack([output.outputs.array for output in outputs])


# --- prompts that cannot be served ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "the text is empty"),
        ({"prompt": ""}, "the text is empty"),
        ([], "the list of token ids is empty"),
        ({"prompt_token_ids": []}, "the list of token ids is empty"),
        ("the " * 63, r"maximum context length is 64 tokens.* contains 65 input tokens.* truncate_prompt_tokens=-1"),
        ([5] * 65, "maximum context length is 64 tokens.* contains 65 input tokens"),
        ("a" * MEGABYTES, r"maximum context length is 64 tokens.* 10000000 characters \(more than 32768 characters"),
        ([5, 182], "token id 182 is not in the vocabulary: ids go from 0 to 181"),
        ([5, -1], "token id -1 is not in the vocabulary: ids go from 0 to 181"),
        ([2**70], f"token id {2**70} is not in the vocabulary"),
        ([5, "6"], r"token ids must be integers; number 1 is '6' \(str\)"),
        ([5, 6.0], r"token ids must be integers; number 1 is 6\.0 \(float\)"),
        ([5, None], r"token ids must be integers; number 1 is None \(NoneType\)"),
        ([5, True], r"token ids must be integers; number 1 is True \(bool\)"),
        ([5, [6]], r"token ids must be integers; number 1 is \[6\] \(list\)"),
        (torch.tensor([5.5, 6.5]), r"token ids must be integers; number 0 is tensor\(5\.5\d*\) \(Tensor\)"),
        (np.array([5.0]), r"token ids must be integers; number 0 is .*5\.0.* \(float64\)"),
        ("\ud800", r"lone surrogate, '\\ud800', at character 0"),
        ("the cat \udfff sat", r"lone surrogate, '\\udfff', at character 8, .*decode the source as UTF-8"),
        ({"prompt": "a\ud83d"}, r"lone surrogate, '\\ud83d', at character 1"),
        (None, "got NoneType"),
        (3.5, "got float"),
        (b"the cat", "got bytes"),
        (object(), "got object"),
        ({"text": "a"}, r"got a dict with the keys \['text'\]"),
        ({"prompt": "a", "promt": "b"}, "a prompt has no field 'promt'"),
        ({"prompt": "a", "prompt_token_ids": [5]}, "has one of"),
        ({"prompt_embeds": torch.zeros(2, 32)}, "'prompt_embeds' is not supported"),
        ({"data": {"any": 1}}, "only supported for the 'plugin' pooling task"),
        (
            {"prompt": "a", "multi_modal_data": {"image": "x"}},
            "reads text alone, and the prompt has 'multi_modal_data'",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_prompt_that_cannot_be_served_is_named_by_its_place(tiny_bert, prompt, said):
    expected = arrays(tiny_bert.embed(["the cat", "a dog"]))
    prompts = ["the cat", prompt, "a dog"]
    with pytest.raises(InvalidInputError, match=rf"^prompt 1: .*{said}") as caught:
        tiny_bert.embed(prompts)
    assert caught.value.index == 1
    assert caught.value.parameter is not None
    assert len(str(caught.value)) < 1000
    first, bad, last = tiny_bert.embed(prompts, on_error="return")
    assert np.abs(arrays([first, last]) - expected).max() <= 1e-6
    assert (bad.outputs, bad.prompt_token_ids, bad.num_prompt_tokens) == (None, [], 0)
    assert isinstance(bad.error, InvalidInputError)
    assert (str(bad.error), bad.error.index) == (str(caught.value), 1)


@pytest.mark.parametrize("item", [np.array(7), torch.tensor(7), 7, True], ids=repr)
def test_a_number_among_texts_is_named_by_its_place(tiny_bert, item):
    with pytest.raises(InvalidInputError, match=r"^prompt 1: expected a str"):
        tiny_bert.embed(["the cat", item])


@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("prompts", [[], (), None, 5, 2.5, b"a", np.array([])], ids=repr)
def test_a_call_without_prompts_is_refused(tiny_bert, prompts, on_error):
    with pytest.raises(InvalidInputError, match=r"at least one prompt|expected a str") as caught:
        tiny_bert.embed(prompts, on_error=on_error)
    assert (caught.value.index, caught.value.parameter) == (None, "prompts")


@pytest.mark.parametrize("text", [" ", "\n\t ", "\0", "\0\x01\x02", "the\0cat", "\u200b", "\ufffd", "🙂"], ids=repr)
def test_odd_text_is_text(tiny_bert, text):
    (output,) = tiny_bert.embed(text)
    assert np.isfinite(output.outputs.array).all()
    assert output.prompt_token_ids[:: output.num_prompt_tokens - 1] == [2, 3]


@given(text=st.text(alphabet=st.characters(codec=None), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_text_is_embedded_or_refused(tiny_bert, text):
    """Surrogates and control characters included: never another error, never NaN."""
    (output,) = tiny_bert.embed([text], truncate_prompt_tokens=-1, on_error="return")
    try:
        text.encode()
    except UnicodeEncodeError:
        assert isinstance(output.error, InvalidInputError)
    else:
        assert output.error is None
        assert np.isfinite(output.outputs.array).all()


# --- one of a thousand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 64, 999])
def test_one_bad_prompt_of_a_thousand_costs_no_other(tiny_bert, place):
    prompts = [f"the cat sat on hill {number}" for number in range(1000)]
    expected = arrays(tiny_bert.embed(prompts, use_tqdm=False))
    prompts[place] = "the cat \ud800"
    with pytest.raises(InvalidInputError, match=rf"^prompt {place}: the text has a lone surrogate"):
        tiny_bert.embed(prompts, use_tqdm=False)
    found = tiny_bert.embed(prompts, use_tqdm=False, on_error="return")
    assert [number for number, output in enumerate(found) if output.error is not None] == [place]
    assert found[place].error.index == place
    rest = [number for number in range(1000) if number != place]
    assert np.abs(arrays([found[number] for number in rest]) - expected[rest]).max() <= 1e-5


def test_every_bad_prompt_of_many_is_returned_in_its_place(tiny_bert):
    prompts = ["the cat", "", [5, 6], [-1], {"prompt": "a dog"}, None, "\ud800", [10**9], "word " * 99, "the end"]
    found = tiny_bert.embed(prompts, on_error="return")
    assert [output.error is None for output in found] == [True, False] * 3 + [False] * 3 + [True]
    assert [output.error.index for output in found if output.error] == [1, 3, 5, 6, 7, 8]


def test_after_an_error_the_model_serves_on(tiny_bert):
    before = arrays(tiny_bert.embed(["the cat"]))
    for _ in range(3):
        with pytest.raises(InvalidInputError):
            tiny_bert.embed(["the cat"] * 200 + [""])
    assert np.array_equal(arrays(tiny_bert.embed(["the cat"])), before)


# --- text of any size -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "text",
    [
        "the cat was on the hill " * (MEGABYTES // 24),
        "é" * MANY,
        " " * MANY + "the cat" + " " * MANY,
        "é" * 100_000 + " the cat " * 10_000,
    ],
    ids=["words", "one word", "space", "mixed"],
)
def test_megabytes_are_cut_as_if_all_of_them_had_been_tokenised(tiny_bert, text, side):
    """And at the price of what is kept: a text of any size must not stop a server for minutes."""
    params = PoolingParams(truncate_prompt_tokens=-1, truncation_side=side)
    (output,) = tiny_bert.embed(text, pooling_params=params, use_tqdm=False)
    words = text.split()
    ids = vocabulary()
    whole = [piece for word in (words[:80] if side == "right" else words[-80:]) for piece in pieces(word, ids)]
    kept = whole[:62] if side == "right" else whole[-62:]
    assert output.prompt_token_ids == [ids["[CLS]"], *kept, ids["[SEP]"]]


def pieces(word, ids):
    """The ids of a word of the tiny tokenizer: those used here are in its vocabulary, or no word of it at all."""
    return [ids.get(word, ids["[UNK]"])] if set(word) != {"é"} else [ids["[UNK]"]]


def test_megabytes_among_short_texts(tiny_bert):
    texts = ["the cat", "word " * (MEGABYTES // 5), "a dog"]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: This model's maximum context length"):
        tiny_bert.embed(texts)
    found = tiny_bert.embed(texts, truncate_prompt_tokens=10, use_tqdm=False)
    assert [output.num_prompt_tokens for output in found] == [4, 10, 4]
    assert [output.truncated for output in found] == [False, True, False]


# --- truncation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, 2])
def test_truncation_that_leaves_nothing_is_refused(tiny_bert, value):
    with pytest.raises(
        InvalidInputError, match=rf"truncate_prompt_tokens={value} leaves an empty prompt: .* from 3 on"
    ):
        tiny_bert.embed("the cat", truncate_prompt_tokens=value)


@pytest.mark.parametrize("longest", [1, 2])
def test_a_limit_that_leaves_nothing_is_refused(checkpoint, load, longest):
    llm = load(checkpoint, max_model_len=longest)
    with pytest.raises(InvalidInputError, match="leaves an empty prompt"):
        llm.embed("the cat", truncate_prompt_tokens=-1)
    assert llm.embed([5] * longest)[0].num_prompt_tokens == longest


def test_token_ids_can_be_cut_to_one(tiny_bert):
    (output,) = tiny_bert.embed([5, 6, 7], truncate_prompt_tokens=1)
    assert (output.prompt_token_ids, output.num_dropped_tokens) == ([5], 2)
    with pytest.raises(InvalidInputError, match="truncate_prompt_tokens=0 leaves an empty prompt"):
        tiny_bert.embed([5, 6, 7], truncate_prompt_tokens=0)


def test_truncation_over_the_maximum_is_refused(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"greater than max_model_len \(65 > 64\)\. .*smaller truncation size"):
        tiny_bert.embed("the cat", truncate_prompt_tokens=65)
    assert tiny_bert.embed("the cat", truncate_prompt_tokens=64)[0].num_prompt_tokens == 4


@pytest.mark.parametrize("value", [-2, "5", 2.0, True], ids=repr)
def test_truncation_by_what_is_no_count_is_refused(tiny_bert, value):
    with pytest.raises(InvalidInputError, match="truncate_prompt_tokens"):
        tiny_bert.embed("the cat", truncate_prompt_tokens=value)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"truncate_prompt_tokens": 4}, "one two"),
        ({"max_length": 4}, "one two"),
        ({"truncation": True, "max_length": 4}, "one two"),
        ({"truncate_prompt_tokens": 4, "truncation_side": "left"}, "the sun"),
        ({"truncation": True}, "one two in the sun"),
        ({"truncation": False}, "one two in the sun"),
        ({"truncation": False, "max_length": 4}, "one two in the sun"),
        ({"max_length": None}, "one two in the sun"),
        ({"padding": False, "add_special_tokens": True}, "one two in the sun"),
        ({}, "one two in the sun"),
    ],
    ids=str,
)
def test_tokenization_kwargs_of_vllm(tiny_bert, settings, kept):
    (output,) = tiny_bert.embed("one two in the sun", tokenization_kwargs=settings)
    assert output.prompt_token_ids == tiny_bert.embed(kept)[0].prompt_token_ids


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"truncation_side": "up", "truncate_prompt_tokens": 4}, "truncation_side"),
        ({"max_length": "x"}, "truncate_prompt"),
    ],
    ids=str,
)
def test_tokenization_kwargs_that_do_not_fit_are_refused(tiny_bert, settings, said):
    with pytest.raises(InvalidInputError, match=said):
        tiny_bert.embed("the cat", tokenization_kwargs=settings)


@pytest.mark.parametrize("settings", [{"stride": 4}, {"truncation": "only_second"}], ids=str)
def test_tokenization_kwargs_without_effect_warn(tiny_bert, settings):
    (name,) = settings
    with pytest.warns(UserWarning, match=f"'{name}' has no effect") as caught:
        tiny_bert.embed("the cat", tokenization_kwargs=settings)
    assert [warning.filename for warning in caught] == [__file__]


# --- parameters -----------------------------------------------------------------------------------------------------


def test_each_prompt_has_its_own_parameters(tiny_bert):
    params = [
        PoolingParams(use_activation=False),
        None,
        PoolingParams(truncate_prompt_tokens=3),
        PoolingParams(truncate_prompt_tokens=3, truncation_side="left"),
    ]
    for given_params in (params, tuple(params)):
        found = tiny_bert.embed(["the old cat"] * 4, pooling_params=given_params)
        assert [output.num_prompt_tokens for output in found] == [5, 5, 3, 3]
        assert np.linalg.norm(found[0].outputs.array) != pytest.approx(1, abs=1e-3)
        assert np.allclose(np.linalg.norm(arrays(found[1:]), axis=1), 1, atol=1e-5)
        assert found[2].prompt_token_ids[1] != found[3].prompt_token_ids[1]


def test_parameters_count_more_than_the_arguments_of_the_call(tiny_bert):
    params = [PoolingParams(truncate_prompt_tokens=3), None]
    found = tiny_bert.embed(["the old cat"] * 2, pooling_params=params, truncate_prompt_tokens=4)
    assert [output.num_prompt_tokens for output in found] == [3, 4]
    assert params == [PoolingParams(truncate_prompt_tokens=3), None]


def test_the_callers_parameters_stay_as_they_were(tiny_bert):
    params = PoolingParams(use_activation=False)
    tiny_bert.embed("the cat", pooling_params=params, truncate_prompt_tokens=5)
    assert params == PoolingParams(use_activation=False)
    assert params.model_fields_set == {"use_activation"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_parameters_of_another_number_are_refused(tiny_bert, count):
    with pytest.raises(
        InvalidInputError, match=rf"The lengths of prompts \(2\) and params \({count}\) must be the same\."
    ):
        tiny_bert.embed(["a", "b"], pooling_params=[PoolingParams()] * count)


@pytest.mark.parametrize(
    "given_params", [{"dimensions": 8}, 5, "x", [5, 5], [PoolingParams(), {"dimensions": 8}], PoolingParams], ids=repr
)
@pytest.mark.parametrize("truncate", [None, 5])
def test_what_are_no_parameters_is_refused(tiny_bert, given_params, truncate):
    with pytest.raises(InvalidInputError, match="pooling_params must be PoolingParams") as caught:
        tiny_bert.embed(["a", "b"], pooling_params=given_params, truncate_prompt_tokens=truncate)
    assert caught.value.parameter == "pooling_params"


def test_the_parameters_of_one_prompt_that_do_not_fit_are_named_by_its_place(tiny_bert):
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


def test_other_arguments_that_do_not_fit_are_refused(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"on_error='ignore': expected one of 'raise', 'return'"):
        tiny_bert.embed("a", on_error="ignore")
    with pytest.raises(InvalidInputError, match=r"lora_request is not supported: merge the adapter"):
        tiny_bert.embed("a", lora_request=object())
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        tiny_bert.embed("a", pooling_parameters=None)


# --- dimensions -----------------------------------------------------------------------------------------------------


def test_dimensions_of_a_model_that_was_not_trained_for_it_are_refused(tiny_bert):
    with pytest.raises(InvalidInputError, match=r"does not support matryoshka.*hf_overrides=\{'is_matryoshka': True\}"):
        tiny_bert.embed("a", pooling_params=PoolingParams(dimensions=8))
    assert tiny_bert.embed("a", pooling_params=PoolingParams(dimensions=32))[0].outputs.hidden_size == 32


@pytest.mark.parametrize("trained", [{"is_matryoshka": True}, {"matryoshka_dimensions": [8, 16]}], ids=str)
def test_dimensions_keep_the_first_of_them(checkpoint, load, tiny_bert, trained):
    llm = load(checkpoint, hf_overrides=trained)
    whole = arrays(tiny_bert.embed("a", pooling_params=PoolingParams(use_activation=False)))[0]
    for task in ("embed", "token_embed"):
        (output,) = llm.encode("a", PoolingParams(dimensions=8), pooling_task=task)
        assert output.outputs.array.shape[-1] == 8
    (output,) = llm.embed("a", pooling_params=PoolingParams(dimensions=8))
    assert np.abs(output.outputs.array - whole[:8] / np.linalg.norm(whole[:8])).max() <= 1e-6
    with pytest.raises(InvalidInputError, match=r"only supports dimensions in range \[1, 32\], got 33"):
        llm.embed("a", pooling_params=PoolingParams(dimensions=33))


@pytest.mark.parametrize("trained", [[8, 16], 8])
def test_dimensions_that_were_not_trained_are_refused(checkpoint, load, trained):
    llm = load(checkpoint, hf_overrides={"matryoshka_dimensions": trained})
    with pytest.raises(InvalidInputError, match=r"only supports Matryoshka dimensions \[8.*\], got 9"):
        llm.embed("a", pooling_params=PoolingParams(dimensions=9))
    assert llm.embed("a", pooling_params=PoolingParams(dimensions=8))[0].outputs.hidden_size == 8


def test_dimensions_by_default(checkpoint, load):
    llm = load(checkpoint, hf_overrides={"is_matryoshka": True}, pooler_config={"dimensions": 4})
    assert llm.embed("a")[0].outputs.hidden_size == 4
    assert llm.embed("a", pooling_params=PoolingParams(dimensions=5))[0].outputs.hidden_size == 5


# --- tasks ----------------------------------------------------------------------------------------------------------


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


# --- progress -------------------------------------------------------------------------------------------------------


class Bar:
    """What a factory of progress bars makes."""

    def __init__(self, **settings):
        self.settings = settings
        self.done = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.settings["closed"] = True

    def update(self, count):
        self.done += count


def test_progress_is_told_to_a_callable(tiny_bert):
    bars = []
    tiny_bert.embed(["a"] * 130, use_tqdm=lambda **settings: bars.append(Bar(**settings)) or bars[-1])
    (bar,) = bars
    assert bar.done == 130
    assert (bar.settings["total"], bar.settings["desc"], bar.settings["closed"]) == (130, "Processed prompts", True)


def test_a_tqdm_of_the_users_own_is_taken(tiny_bert, capsys):
    tiny_bert.embed(["a"] * 3, use_tqdm=tqdm.tqdm)
    seen = capsys.readouterr()
    assert "Processed prompts: 100%" in seen.err
    assert seen.out == ""


@pytest.mark.parametrize("use_tqdm", [True, False])
def test_short_work_shows_no_progress(tiny_bert, capsys, use_tqdm):
    tiny_bert.embed(["a"] * 3, use_tqdm=use_tqdm)
    assert capsys.readouterr() == ("", "")


# --- models with less than they should have -------------------------------------------------------------------------


def test_without_a_tokenizer_token_ids_are_served_and_text_is_refused(tmp_path, load):
    llm = load(tiny("BertModel", tmp_path, tokenizer=False))
    assert llm.embed([5, 6])[0].num_prompt_tokens == 2
    with pytest.raises(
        InvalidInputError, match=r"^prompt 0: the model .* has no tokenizer: .* Pass token ids, or load"
    ):
        llm.embed("the cat")


def test_a_tokenizer_that_is_not_wanted_is_not_loaded(checkpoint, load):
    (checkpoint / "tokenizer.json").write_text("damaged", encoding="utf-8")
    (checkpoint / "tokenizer.json").unlink()
    llm = load(checkpoint, skip_tokenizer_init=True)
    assert llm.embed([5, 6])[0].num_prompt_tokens == 2
    with pytest.raises(InvalidInputError, match="no tokenizer"):
        llm.embed("the cat")


def test_a_token_that_the_weights_lack_is_refused_by_its_place(tmp_path, load):
    """Tokens are added to tokenizers without a row for them: on a GPU, to look one up ends the process."""
    folder = tiny("BertModel", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 182, "content": "<new>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    llm = load(folder)
    good, bad = llm.embed(["the cat", "the <new> cat"], on_error="return")
    assert good.error is None
    assert isinstance(bad.error, InvalidInputError)
    assert str(bad.error).startswith("prompt 1: the text holds ")
    assert "182" in str(bad.error)


def test_a_text_that_the_tokenizer_fails_on_costs_no_other(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "[NONE]"  # WordPiece raises on a word it has no pieces for
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    llm = load(folder)
    found = llm.embed(["the cat", "猫", "a dog"], on_error="return")
    assert [output.error is None for output in found] == [True, False, True]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: the tokenizer of .* fails on the text"):
        llm.embed(["the cat", "猫", "a dog"])


def test_a_result_that_is_not_finite_is_an_error_of_its_prompt_alone(tmp_path):
    """Weights that are finite and overflow for one token: no NaN is handed out, and no other prompt is harmed."""
    folder = tiny("BertModel", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][50] = 3e38
    save_file(tensors, folder / "model.safetensors")
    with LLM(str(folder), num_workers=1) as llm:
        good, bad, last = llm.embed([[5, 6, 7], [5, 50, 7], [8, 9]], on_error="return")
        assert isinstance(bad.error, EngineError)
        assert str(bad.error).startswith("prompt 1: the model computed NaN or infinity")
        assert np.isfinite(arrays([good, last])).all()
        with pytest.raises(EngineError, match=r"^prompt 1: "):
            llm.embed([[5, 6, 7], [5, 50, 7], [8, 9]])


def test_a_closed_model_refuses(checkpoint):
    llm = LLM(str(checkpoint), num_workers=1)
    llm.close()
    llm.close()
    with pytest.raises(EngineError, match="closed"):
        llm.embed("the cat")
