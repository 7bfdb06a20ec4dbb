"""Pairs that a model reads at once score as in sentence-transformers: heads, activations, lengths, cuts."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny

BERT, ROBERTA = "BertForSequenceClassification", "RobertaForSequenceClassification"
QUERIES = ["the cat", "a hot day on the river", "what is a mill"]
DOCUMENTS = [
    "a small red bird in the tree",
    "river",
    "the old mill stands by the long green river and the water is deep and cold in winter, they say",
    "",
    "cat [SEP] dog",
]
LONG_TEXT = "the old dog sat by the river and the small cat ran up the hill to the green house " * 6


def cross_encoder(folder, architecture=BERT, *, segments=True, **settings):
    """A tiny checkpoint whose tokenizer gives segments, as BERT's own, or does not."""
    tiny(architecture, folder, num_labels=1, **settings)
    if segments:
        path = folder / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **names}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=["BERT", "BERT without segments", "RoBERTa"])
def encoder(request, tmp_path_factory):
    """A tiny cross-encoder, here and in sentence-transformers."""
    architecture = ROBERTA if request.param == "RoBERTa" else BERT
    folder = tmp_path_factory.mktemp("encoder") / "model"
    cross_encoder(folder, architecture, segments=request.param == "BERT")
    with LLM(str(folder), num_workers=1) as llm:
        yield llm, CrossEncoder(str(folder), device="cpu")


def scores(outputs) -> np.ndarray:
    return np.array([output.outputs.score for output in outputs])


def test_each_pair_scores_as_in_sentence_transformers(encoder):
    llm, reference = encoder
    pairs = list(product(QUERIES, DOCUMENTS))
    outputs = llm.score([query for query, _ in pairs], [document for _, document in pairs])
    np.testing.assert_allclose(scores(outputs), reference.predict(pairs), atol=1e-5)
    ids = reference.tokenizer(pairs)["input_ids"]
    assert [output.prompt_token_ids for output in outputs] == ids


def test_one_query_ranks_documents_as_in_sentence_transformers(encoder):
    llm, reference = encoder
    ranked = reference.rank(QUERIES[1], DOCUMENTS)
    outputs = scores(llm.score(QUERIES[1], DOCUMENTS))
    assert np.argsort(-outputs, kind="stable").tolist() == [row["corpus_id"] for row in ranked]
    np.testing.assert_allclose(np.sort(outputs)[::-1], [row["score"] for row in ranked], atol=1e-5)


def test_scores_do_not_depend_on_the_other_pairs(encoder):
    llm, _ = encoder
    together = scores(llm.score(QUERIES[0], DOCUMENTS * 20))
    alone = np.array([scores(llm.score(QUERIES[0], document))[0] for document in DOCUMENTS])
    np.testing.assert_allclose(together, np.tile(alone, 20), atol=1e-6)


def test_segments_count_where_the_model_has_them(tmp_path):
    """Query and document are distinguished: swapping them changes the score to the expected one."""
    folder = cross_encoder(tmp_path / "model")
    with LLM(str(folder), num_workers=1) as llm:
        pairs = [("red bird", "old mill"), ("old mill", "red bird")]
        expected = CrossEncoder(str(folder), device="cpu").predict(pairs)
        assert abs(expected[0] - expected[1]) > 1e-4
        np.testing.assert_allclose(scores(llm.score(*map(list, zip(*pairs, strict=True)))), expected, atol=1e-5)


@pytest.mark.parametrize(
    "activation", ["torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid", None]
)
@pytest.mark.parametrize("where", ["new", "old"])
def test_the_activation_is_the_one_that_the_checkpoint_names(tmp_path, activation, where):
    titles = {}
    if activation is not None:
        titles = (
            {"sentence_transformers": {"activation_fn": activation}}
            if where == "new"
            else {"sbert_ce_default_activation_function": activation}
        )
    folder = cross_encoder(tmp_path / "model", **titles)
    pairs = [(QUERIES[0], document) for document in DOCUMENTS]
    reference = CrossEncoder(str(folder), device="cpu")
    with LLM(str(folder), num_workers=1) as llm:
        np.testing.assert_allclose(scores(llm.score(QUERIES[0], DOCUMENTS)), reference.predict(pairs), atol=1e-5)
        bare = llm.score(QUERIES[0], DOCUMENTS, pooling_params=PoolingParams(use_activation=False))
        np.testing.assert_allclose(scores(bare), reference.predict(pairs, activation_fn=torch.nn.Identity()), atol=1e-5)


def test_a_chain_of_transformer_pooling_and_dense(tmp_path):
    folder = tiny("BertModel", tmp_path / "model")
    write_chain(folder)
    pairs = list(product(QUERIES, DOCUMENTS))
    expected = CrossEncoder(str(folder), device="cpu").predict(pairs)
    with LLM(str(folder), num_workers=1) as llm:
        outputs = llm.score([query for query, _ in pairs], [document for _, document in pairs])
    np.testing.assert_allclose(scores(outputs), expected, atol=1e-5)


def write_chain(folder) -> None:
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(3)
    transformer = Transformer(str(folder))
    pooling = Pooling(32, pooling_mode="mean")
    dense = Dense(32, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
    torch.nn.init.normal_(dense.linear.bias)
    CrossEncoder(modules=[transformer, pooling, dense], device="cpu").save(str(folder))


# --- cuts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "document"), [("the cat", LONG_TEXT), (LONG_TEXT, "the cat"), (LONG_TEXT, LONG_TEXT), (LONG_TEXT, "")]
)
@pytest.mark.parametrize("limit", [8, 15, 64])
def test_pairs_are_cut_longest_first(encoder, query, document, limit):
    llm, reference = encoder
    (output,) = llm.score(query, document, truncate_prompt_tokens=limit)
    (whole,) = reference.tokenizer([(query, document)])["input_ids"]
    (kept,) = reference.tokenizer([(query, document)], truncation="longest_first", max_length=limit)["input_ids"]
    assert output.prompt_token_ids == kept
    assert output.num_dropped_tokens == len(whole) - len(kept)


@pytest.mark.parametrize(
    ("query", "document"), [("the cat", LONG_TEXT), (LONG_TEXT, "the cat"), (LONG_TEXT, LONG_TEXT)]
)
def test_pairs_too_long_for_the_model_are_cut_as_in_sentence_transformers(encoder, query, document):
    llm, reference = encoder
    outputs = scores(llm.score([query, "cat"], [document, "dog"], on_overflow="truncate"))
    np.testing.assert_allclose(outputs, reference.predict([(query, document), ("cat", "dog")]), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_of_the_cut(encoder, side):
    llm, _ = encoder
    (output,) = llm.score(
        LONG_TEXT,
        LONG_TEXT,
        tokenization_kwargs={"truncate_prompt_tokens": 20, "truncation_side": side},
        use_tqdm=False,
    )
    tokenizer = llm.get_tokenizer()
    tokens = tokenizer(LONG_TEXT, add_special_tokens=False)["input_ids"]
    room = 20 - tokenizer.num_special_tokens_to_add(pair=True)
    first, second = room // 2, room - room // 2
    kept = [token for token in output.prompt_token_ids if token not in tokenizer.all_special_ids]
    pick = (lambda count: tokens[-count:]) if side == "left" else (lambda count: tokens[:count])
    assert kept == pick(first) + pick(second)


def test_a_pair_that_is_too_long_is_refused(encoder):
    llm, _ = encoder
    with pytest.raises(
        InvalidInputError, match=r"prompt 1: .*maximum context length is 64 tokens.*truncate_prompt_tokens"
    ):
        llm.score("cat", ["dog", LONG_TEXT])
    fine, refused = llm.score("cat", ["dog", LONG_TEXT], on_error="return")
    assert fine.error is None
    assert refused.error is not None
    with pytest.raises(InvalidInputError, match="characters"):
        llm.score("cat", "dog " * 100_000)


@pytest.mark.parametrize("asked", [0, 2, 65, 10_000])
def test_a_length_that_cannot_be_is_refused(encoder, asked):
    llm, _ = encoder
    with pytest.raises(InvalidInputError, match="smaller truncation size" if asked > 64 else "empty prompt"):
        llm.score("cat", "dog", truncate_prompt_tokens=asked)


def test_a_text_of_any_size_may_be_cut(encoder):
    llm, reference = encoder
    huge = "the cat sat by the river " * 40_000
    (output,) = llm.score("dog", huge, truncate_prompt_tokens=-1)
    kept = reference.tokenizer([("dog", "the cat sat by the river " * 40)], truncation=True, max_length=64)["input_ids"]
    assert [output.prompt_token_ids] == kept
    assert output.truncated


def test_queries_and_documents_are_cut_by_themselves(encoder):
    llm, reference = encoder
    (output,) = llm.score(
        "the old mill stands", "a small red bird in a tree", max_tokens_per_query=2, max_tokens_per_doc=3
    )
    (whole,), (kept,) = (
        reference.tokenizer([pair])["input_ids"]
        for pair in (("the old mill stands", "a small red bird in a tree"), ("the old", "a small red"))
    )
    assert output.prompt_token_ids == kept
    assert output.num_dropped_tokens == len(whole) - len(kept)
    (output,) = llm.score("the old mill", LONG_TEXT, max_tokens_per_doc=20, truncate_prompt_tokens=15)
    (whole,) = reference.tokenizer([("the old mill", LONG_TEXT)], truncation="only_second", max_length=15)["input_ids"]
    assert output.prompt_token_ids == whole


@pytest.mark.parametrize("name", ["max_tokens_per_query", "max_tokens_per_doc"])
def test_limits_of_a_side_are_checked(encoder, name):
    llm, _ = encoder
    for bad in (-1, 1.5, True, "3"):
        with pytest.raises(InvalidInputError, match=f"{name} must be a non-negative integer"):
            llm.score("cat", "dog", **{name: bad})
    with pytest.raises(InvalidInputError, match=rf"{name} \(64\) must be less than max_model_len \(64\)."):
        llm.score("cat", "dog", **{name: 64})
    assert llm.score("cat", "dog", **{name: 0})[0].outputs == llm.score("cat", "dog")[0].outputs


def test_equal_pairs_are_computed_once_and_each_gets_a_score(encoder):
    llm, _ = encoder
    actual = llm.score("cat", ["dog", "bird", "dog"])
    assert len({output.request_id for output in actual}) == 3
    assert actual[0].outputs == actual[2].outputs != actual[1].outputs


def test_an_option_that_no_template_reads_is_reported(encoder):
    llm, _ = encoder
    with pytest.warns(UserWarning, match="instruction has no effect"):
        llm.score("cat", "dog", instruction="find animals")


def test_a_prompt_precedes_the_query(encoder):
    llm, reference = encoder
    (output,) = llm.score("cat", "dog", prompt="the old ")
    assert [output.prompt_token_ids] == reference.tokenizer([("the old cat", "dog")])["input_ids"]
    with pytest.raises(InvalidInputError, match="no prompt of that name"):
        llm.score("cat", "dog", prompt_name="nobody")


def test_models_with_several_classes_have_no_scores(tmp_path):
    folder = tiny(BERT, tmp_path / "model", num_labels=3)
    with LLM(str(folder), num_workers=1) as llm:
        assert "score" not in llm.supported_tasks
        with pytest.raises(InvalidInputError, match="Scoring API is only enabled for num_labels == 1"):
            llm.score("cat", "dog")


def test_scores_need_pairs(encoder):
    llm, _ = encoder
    with pytest.raises(InvalidInputError, match=r"LLM\.score"):
        llm.encode("cat", pooling_task="score")


def test_parameters_may_name_the_task_that_scores_are_computed_from(tmp_path, load):
    llm = load(tiny("BertForSequenceClassification", tmp_path / "model", num_labels=1))
    params = PoolingParams(task="classify")
    named, plain = (llm.score("a", "b", pooling_params=each)[0] for each in (params, PoolingParams()))
    assert named.outputs == plain.outputs
    assert params == PoolingParams(task="classify")
    with pytest.raises(InvalidInputError, match=r"You cannot overwrite param.task='embed' with pooling_task='score'!"):
        llm.score("a", "b", pooling_params=PoolingParams(task="embed"))
