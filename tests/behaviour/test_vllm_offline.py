"""``LLM`` as used by vLLM's tests of pooling models: forms of prompts, fields of outputs, error messages."""

import math
import re

import pytest
import torch

from millpond import LLM, PoolerConfig, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.types.errors import InvalidInputError

PROMPTS = ["the old mill", "by the pond"]
IDS = [[2, 160, 136, 130, 3], [2, 20, 3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a small checkpoint of an architecture, created once."""
    root, folders = tmp_path_factory.mktemp("offline"), {}

    def folder(architecture, **options):
        name = f"{architecture}-{len(folders)}"
        key = (architecture, *sorted(options.items()))
        return (
            folders[key] if key in folders else folders.setdefault(key, str(tiny(architecture, root / name, **options)))
        )

    return folder


@pytest.fixture
def classifier(folder, load):
    return load(folder("BertForSequenceClassification", num_labels=2))


@pytest.fixture
def reranker(folder, load):
    return load(folder("BertForSequenceClassification", num_labels=1))


# --- forms of prompts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["embed", "encode"])
@pytest.mark.parametrize(
    ("prompts", "count"),
    [
        (PROMPTS[0], 1),
        (PROMPTS, 2),
        (IDS[0], 1),
        (IDS, 2),
        ({"prompt": PROMPTS[0]}, 1),
        ([{"prompt": PROMPTS[0]}, {"prompt_token_ids": IDS[1]}], 2),
        ([PROMPTS[0], IDS[1]], 2),
    ],
    ids=str,
)
def test_prompts_have_the_forms_of_vllm(tiny_bert, method, prompts, count):
    more = {"pooling_task": "embed"} if method == "encode" else {}
    outputs = getattr(tiny_bert, method)(prompts, **more)
    assert len(outputs) == count
    for output in outputs:
        assert output.finished
        assert output.num_cached_tokens == 0  # no prefix of another prompt is ever reused
        assert output.prompt_token_ids[0] == 2
        assert isinstance(output.request_id, str)


def test_a_text_and_its_token_ids_have_the_same_result(tiny_bert):
    text, ids, named = tiny_bert.embed([PROMPTS[0], IDS[0], {"prompt_token_ids": IDS[0]}])
    assert text.prompt_token_ids == ids.prompt_token_ids == IDS[0]
    assert text.outputs.embedding == ids.outputs.embedding == named.outputs.embedding


def test_the_result_of_encode_is_a_tensor_under_data(tiny_bert, classifier):
    (vector,) = tiny_bert.encode(PROMPTS[0], pooling_task="embed")
    assert isinstance(vector.outputs.data, torch.Tensor)
    assert vector.outputs.data.tolist() == tiny_bert.embed(PROMPTS[0])[0].outputs.embedding
    (tokens,) = tiny_bert.encode(PROMPTS[0], pooling_task="token_embed")
    assert tokens.outputs.data.shape == (len(tokens.prompt_token_ids), 32)
    (classes,) = classifier.encode(PROMPTS[0], pooling_task="classify")
    assert classes.outputs.data.tolist() == classifier.classify(PROMPTS[0])[0].outputs.probs
    (each,) = classifier.encode(PROMPTS[0], pooling_task="token_classify")
    assert each.outputs.data.shape == (len(each.prompt_token_ids), 2)


def test_a_reward_is_one_of_each_token(folder, load):
    llm = load(folder("Qwen2ForTokenClassification", num_labels=1))
    (output,) = llm.reward(PROMPTS[0])
    assert len(output.outputs.data) == len(output.prompt_token_ids)


def test_parameters_are_one_for_all_or_one_for_each(tiny_bert):
    raw, normal = PoolingParams(use_activation=False), PoolingParams(use_activation=True)
    outputs = tiny_bert.embed([PROMPTS[0]] * 2, pooling_params=[raw, normal])
    lengths = [math.hypot(*output.outputs.embedding) for output in outputs]
    assert lengths[1] == pytest.approx(1)
    assert lengths[0] != pytest.approx(1)
    with pytest.raises(ValueError, match=re.escape("The lengths of prompts (2) and params (1) must be the same.")):
        tiny_bert.embed(PROMPTS, pooling_params=[raw])


# --- activations ------------------------------------------------------------------------------------------------------


def with_and_without(call):
    """The results of the default, with the activation and without it."""
    return [
        torch.tensor(call(None if use is None else PoolingParams(use_activation=use))) for use in (None, True, False)
    ]


def test_embeddings_are_normalized_by_default(folder, load):
    llm = load(folder("Qwen2Model"))
    default, used, bare = with_and_without(
        lambda params: llm.embed(PROMPTS[0], pooling_params=params)[0].outputs.embedding
    )
    assert default.tolist() == used.tolist()
    assert torch.allclose(torch.nn.functional.normalize(bare, dim=-1), used, atol=1e-5)
    assert not torch.allclose(bare, used, atol=1e-2)


def test_classes_are_those_of_softmax_by_default(classifier):
    default, used, bare = with_and_without(
        lambda params: classifier.classify(PROMPTS[0], pooling_params=params)[0].outputs.probs
    )
    assert default.tolist() == used.tolist()
    assert torch.allclose(bare.softmax(-1), used, atol=1e-5)
    assert not torch.allclose(bare, used, atol=1e-2)


def test_scores_are_those_of_a_sigmoid_by_default(reranker):
    default, used, bare = with_and_without(
        lambda params: reranker.score("a", "b", pooling_params=params)[0].outputs.score
    )
    assert default == used
    assert torch.allclose(bare.sigmoid(), used, atol=1e-5)


def test_tokens_are_classified_by_softmax_by_default(folder, load):
    llm = load(folder("BertForTokenClassification", num_labels=4))
    results = []
    for use in (None, True, False):
        params = PoolingParams(use_activation=use)
        results.append(llm.encode(PROMPTS[0], params, pooling_task="token_classify")[0].outputs.data)
    assert torch.equal(results[0], results[1])
    assert torch.allclose(results[2].softmax(-1), results[1], atol=1e-5)


@pytest.mark.parametrize("use", [True, False])
def test_the_config_decides_where_a_call_does_not(folder, load, use):
    llm = load(folder("BertForSequenceClassification", num_labels=2), pooler_config=PoolerConfig(use_activation=use))
    assert (sum(llm.classify(PROMPTS[0])[0].outputs.probs) == pytest.approx(1)) is use
    (other,) = llm.classify(PROMPTS[0], pooling_params=PoolingParams(use_activation=not use))
    assert (sum(other.outputs.probs) == pytest.approx(1)) is not use


@pytest.mark.parametrize("kind", ["CLS", "LAST", "MEAN"])
def test_the_config_decides_how_vectors_are_pooled(folder, load, kind):
    llm = load(folder("BertModel"), pooler_config=PoolerConfig(pooling_type=kind, use_activation=False))
    assert llm.llm_engine.vllm_config.model_config.pooler_config.seq_pooling_type == kind
    (rows,) = llm.encode(PROMPTS[0], PoolingParams(use_activation=False), pooling_task="token_embed")
    states = rows.outputs.data
    expected = {"CLS": states[0], "LAST": states[-1], "MEAN": states.mean(0)}[kind]
    assert torch.allclose(torch.tensor(llm.embed(PROMPTS[0])[0].outputs.embedding), expected, atol=1e-5)


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queries", "documents"), [("a", "b"), ("a", ["b", "c"]), (["a"], ["b", "c"]), (["a", "d"], ["b", "c"])]
)
@pytest.mark.parametrize("kind", ["tiny_bert", "reranker"])
def test_pairs_are_one_to_one_one_to_many_or_many_to_many(request, kind, queries, documents):
    llm = request.getfixturevalue(kind)
    outputs = llm.score(queries, documents)
    assert len(outputs) == (1 if isinstance(documents, str) else len(documents))
    assert all(isinstance(output.outputs.score, float) for output in outputs)


@pytest.mark.parametrize(
    ("queries", "documents", "message"),
    [
        (["a", "b"], ["a", "b", "c"], "Input lengths must be either 1:1, 1:N or N:N"),
        (["a", "b"], "c", "Input lengths must be either 1:1, 1:N or N:N"),
        ([], "a", "At least one text element must be given"),
        ("a", [], "At least one text_pair element must be given"),
    ],
)
@pytest.mark.parametrize("kind", ["tiny_bert", "reranker"])
def test_pairs_that_do_not_match_are_refused(request, kind, queries, documents, message):
    with pytest.raises(ValueError, match=message):
        request.getfixturevalue(kind).score(queries, documents)


def test_only_a_model_with_one_label_scores(classifier):
    with pytest.raises(ValueError, match="Scoring API is only enabled for num_labels == 1"):
        classifier.score("a", "b")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        ("tiny_bert", lambda llm: llm.classify("a"), "Classification API is not supported by this model"),
        ("classifier", lambda llm: llm.embed("a"), "Embedding API is not supported by this model"),
        ("tiny_bert", lambda llm: llm.encode("a"), "pooling_task required for `LLM.encode`"),
        ("tiny_bert", lambda llm: llm.encode("a", pooling_task="other"), "Unsupported task: 'other' Supported tasks: "),
        ("tiny_bert", lambda llm: llm.encode({"data": 1}, pooling_task="plugin"), "No IOProcessor plugin installed."),
        (
            "tiny_bert",
            lambda llm: llm.encode("a", pooling_task="embed&token_classify"),
            "The 'embed&token_classify' pooling task is only available through an IO processor plugin. Send a plugin ",
        ),
        (
            "tiny_bert",
            lambda llm: llm.encode("a", PoolingParams(task="embed"), pooling_task="token_embed"),
            "You cannot overwrite param.task='embed' with pooling_task='token_embed'!",
        ),
        (
            "tiny_bert",
            lambda llm: llm.encode({"data": 1}, pooling_task="embed"),
            "The 'data' field is only supported for the 'plugin' pooling task.",
        ),
        ("tiny_bert", lambda llm: llm.embed([]), "You must pass at least one prompt"),
        ("tiny_bert", lambda llm: llm.embed([[5, -1]]), "Token id -1 is out of vocabulary"),
        (
            "tiny_bert",
            lambda llm: llm.embed("a", tokenization_kwargs={"truncate_prompt_tokens": 65}),
            "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size.",
        ),
        ("tiny_bert", lambda llm: llm.embed("a " * 80), "Please reduce the length of the input prompt"),
        (
            "tiny_bert",
            lambda llm: llm.embed("a", pooling_params=PoolingParams(dimensions=8)),
            "does not support matryoshka representation, changing output dimensions will lead to poor results.",
        ),
    ],
)
def test_calls_are_refused_with_vllms_messages(request, kind, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(request.getfixturevalue(kind))


@pytest.mark.parametrize(
    ("overrides", "dimensions", "message"),
    [
        ({"is_matryoshka": True}, 4096, "only supports dimensions in range [1, 32], got 4096."),
        ({"matryoshka_dimensions": [16]}, 8, "only supports Matryoshka dimensions [16], got 8."),
    ],
)
def test_dimensions_that_the_model_lacks_are_refused(folder, load, overrides, dimensions, message):
    llm = load(folder("BertModel"), hf_overrides=overrides)
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        llm.embed("a", pooling_params=PoolingParams(dimensions=dimensions))
    (output,) = llm.embed("a", pooling_params=PoolingParams(dimensions=16))
    assert len(output.outputs.embedding) == 16
    assert math.hypot(*output.outputs.embedding) == pytest.approx(1)


def test_no_dimensions_are_fewer_than_one():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        PoolingParams(dimensions=-1)


# --- truncation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"truncate_prompt_tokens": 4}, [2, 160, 136, 3]),
        ({"truncate_prompt_tokens": 4, "truncation_side": "left"}, [2, 136, 130, 3]),
        ({"truncate_prompt_tokens": -1}, IDS[0]),
        ({"truncation": True, "max_length": 4}, [2, 160, 136, 3]),
        ({"add_special_tokens": False}, IDS[0][1:-1]),
    ],
    ids=str,
)
def test_tokenization_is_that_of_the_call(tiny_bert, settings, kept):
    (output,) = tiny_bert.embed(PROMPTS[0], tokenization_kwargs=settings)
    assert output.prompt_token_ids == kept


def test_truncation_to_the_maximum_takes_any_text(tiny_bert):
    (output,) = tiny_bert.embed("the old mill " * 60, tokenization_kwargs={"truncate_prompt_tokens": -1})
    assert len(output.prompt_token_ids) == tiny_bert.model_config.max_model_len


# --- what is known of a model -----------------------------------------------------------------------------------------


def test_a_model_has_the_attributes_that_vllm_users_read(folder, load):
    path = folder("BertForSequenceClassification", num_labels=2)
    config = load(path).llm_engine.vllm_config.model_config
    assert config.architectures == ["BertForSequenceClassification"]
    assert (config.model, config.served_model_name, config.runner_type) == (path, path, "pooling")
    assert config.hf_config.num_labels == 2
    assert not config.is_multimodal_model
    assert "num_labels" not in config.hf_config  # transformers counts the labels, and does not write how many


@pytest.mark.parametrize("options", [{"runner": "pooling"}, {"runner": "pooling", "convert": "embed"}])
def test_a_language_model_embeds(folder, load, options):
    llm = load(folder("Qwen2ForCausalLM"), **options)
    assert math.hypot(*llm.embed(PROMPTS[0])[0].outputs.embedding) == pytest.approx(1)


def test_a_language_model_becomes_a_classifier(folder, load):
    llm = load(folder("Qwen2ForSequenceClassification", num_labels=3), runner="pooling", convert="classify")
    (output,) = llm.classify(PROMPTS[0])
    assert output.outputs.num_classes == len(output.outputs.probs) == 3


def test_the_runner_generate_is_refused(folder):
    with pytest.raises(InvalidInputError, match=re.escape("Try passing `--runner pooling`")):
        LLM(folder("Qwen2ForCausalLM"), runner="generate")
