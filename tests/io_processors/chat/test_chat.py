"""Conversations as prompts: rendered by the model's template, like transformers; without one, a line per message."""

import json

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, InvalidInputError
from millpond.testing import checkpoints

TEMPLATE = (
    "{% for message in messages %}{{ message.role }} says {{ message['content'] | trim }} . {% endfor %}"
    "{% if add_generation_prompt %}so{% endif %}{% if mood %} {{ mood }}{% endif %}"
)
TALK = [
    {"role": "man", "content": "the old mill"},
    {"role": "woman", "content": [{"type": "text", "text": "by the pond"}]},
]


def made(path, template=TEMPLATE):
    folder = checkpoints.tiny("BertModel", path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture(scope="module")
def llm(folder):
    with LLM(str(folder)) as llm:
        yield llm


def ids(llm, prompt):
    return llm.embed(prompt, use_tqdm=False)[0].prompt_token_ids


@pytest.mark.parametrize("opens", [False, True])
def test_the_rendered_template_equals_that_of_transformers(llm, folder, opens):
    from transformers import AutoTokenizer

    plain = [{**message, "content": text} for message, text in zip(TALK, ("the old mill", "by the pond"), strict=True)]
    theirs = AutoTokenizer.from_pretrained(folder)
    text = theirs.apply_chat_template(plain, tokenize=False, add_generation_prompt=opens)
    token_ids = ids(llm, {"messages": TALK, "add_generation_prompt": opens})
    assert token_ids == theirs(text, add_special_tokens=False)["input_ids"]


def test_special_tokens_and_variables_on_request(llm):
    bare = ids(llm, {"messages": TALK})
    assert ids(llm, {"messages": TALK, "add_special_tokens": True})[1:-1] == bare
    warm = ids(llm, {"messages": TALK, "chat_template_kwargs": {"mood": "warm"}})
    assert warm[: len(bare)] == bare
    assert len(warm) == len(bare) + 1


def test_the_last_message_may_be_left_open(llm):
    opened = ids(llm, {"messages": TALK, "continue_final_message": True})
    whole = ids(llm, {"messages": TALK})
    assert opened == whole[: len(opened)]
    assert len(whole) - len(opened) == 1  # the full stop


PARTS = (
    "{% for message in messages %}[ {{ message.role }} ] {% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %} . [ end ] {% endfor %}"
)
TEXTS = "{% for message in messages %}[ {{ message.role }} ] {{ message.content }} . [ end ] {% endfor %}"


@pytest.mark.parametrize("content", ["", "end", "the mill", "the mill  "])
@pytest.mark.parametrize("template", [PARTS, TEXTS, TEXTS.replace("message.content", "message.content | trim")])
def test_a_continued_message_equals_that_of_transformers(tmp_path, content, template):
    from transformers import AutoTokenizer

    folder = made(tmp_path / "bert", template)
    theirs = AutoTokenizer.from_pretrained(folder)
    talk = [{"role": "user", "content": "by the pond"}, {"role": "assistant", "content": content}]
    text = theirs.apply_chat_template(talk, tokenize=False, continue_final_message=True)
    with LLM(str(folder)) as llm:
        token_ids = ids(llm, {"messages": talk, "continue_final_message": True})
    assert token_ids == theirs(text, add_special_tokens=False)["input_ids"]


def test_a_message_that_the_template_omits_cannot_be_continued(llm):
    prompt = {"messages": TALK, "continue_final_message": True, "chat_template": "{{ messages[0].content }}"}
    with pytest.raises(InvalidInputError, match="cannot be continued"):
        llm.embed(prompt)


def test_the_operators_template_takes_precedence_over_the_models(folder):
    with LLM(str(folder), chat_template="{% for m in messages %}{{ m.content }} {% endfor %}") as llm:
        assert ids(llm, {"messages": TALK}) == ids(
            llm, {"prompt": "the old mill by the pond", "add_special_tokens": False}
        )


@pytest.mark.parametrize("door", [LLM, AsyncLLM])
@pytest.mark.parametrize(
    ("template", "message"),
    [("examples/nowhere.jinja", "neither Jinja text"), ("{% for m in messages %}", "not valid Jinja")],
)
def test_a_template_that_cannot_be_read_is_refused_when_the_model_is_loaded(folder, door, template, message):
    with pytest.raises(InvalidInputError, match=message):
        door(str(folder), chat_template=template)


def test_without_a_template_contents_are_lines(tmp_path):
    with LLM(str(made(tmp_path / "bert", None))) as llm:
        (talk,), (text,) = llm.embed({"messages": TALK}), llm.embed("the old mill\nby the pond")
        assert talk.prompt_token_ids == text.prompt_token_ids
        np.testing.assert_array_equal(talk.outputs.array, text.outputs.array)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"messages": []}, "'messages' is empty"),
        ({"messages": "hello"}, "'messages' must be a list"),
        ({"messages": [5]}, r"messages\[0\] must be an object"),
        ({"messages": [{"role": "a", "content": None}]}, "'content' must be a text"),
        ({"messages": [{"role": "a", "content": [{"type": "image_url"}]}]}, "only supports parts of type text"),
        ({"messages": TALK, "prompt": "a"}, "a prompt has one of"),
        ({"messages": TALK, "chat_template": 5}, "'chat_template' must be Jinja text"),
        ({"messages": TALK, "chat_template": "{{"}, "not valid Jinja"),
        ({"messages": TALK, "chat_template": "{{ 1 / 0 }}"}, "ZeroDivisionError"),
        ({"messages": TALK, "chat_template": "{{ ''.__class__.__mro__ }}"}, "SecurityError"),
        ({"messages": TALK, "chat_template_kwargs": {"messages": []}}, "must not contain the reserved name 'messages'"),
        ({"messages": TALK, "chat_template_kwargs": 5}, "must be a dict"),
        ({"messages": TALK, "add_generation_prompt": "yes"}, "must be true or false"),
        ({"messages": TALK, "add_generation_prompt": True, "continue_final_message": True}, "Cannot set both"),
        ({"prompt": "a", "add_generation_prompt": True}, "Unknown field 'add_generation_prompt'"),
        ({"prompt": "a", "add_special_tokens": 5}, "'add_special_tokens' must be true or false"),
    ],
)
def test_an_invalid_conversation_is_refused(llm, prompt, message):
    with pytest.raises(InvalidInputError, match=message):
        llm.embed(prompt)
