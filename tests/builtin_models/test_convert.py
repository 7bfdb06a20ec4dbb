"""Converters: models that are something else as embedding models, classifiers and judges of steps."""

import importlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError, PoolingParams, UnknownNameError
from millpond.loading.arguments import read_arguments
from millpond.loading.build import load_model
from millpond.nn import Linear
from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_sentence_transformers
from millpond.testing.comparisons import rewrite

WORDS = vocabulary("decoder")
TAG = WORDS["so"]
NO, YES, BAD = WORDS["no"], WORDS["good"], WORDS["bird"]
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
SHORT = (1, 9, 40)
RAW = PoolingParams(use_activation=False)
TOLERANCE = 1e-5  # of the largest value, where that is above 1


def prompts_of(lengths, seed=0):
    """Prompts of words, some of them the tag of a step."""
    random = np.random.default_rng(seed)
    return [
        [TAG if random.random() < 0.2 else int(i) for i in random.integers(4, len(WORDS), size=length)]
        for length in lengths
    ]


def found(llm, prompts, task, params=RAW):
    return [output.outputs.array for output in llm.encode(prompts, params, pooling_task=task, use_tqdm=False)]


def worst(one, other):
    assert [rows.shape for rows in one] == [rows.shape for rows in other]
    scale = max(1.0, *(float(np.abs(rows).max(initial=0)) for rows in other))
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(one, other, strict=True)) / scale


def softmax(rows):
    return torch.softmax(torch.from_numpy(np.asarray(rows)).double(), dim=-1).numpy()


def change_config(folder, **changes):
    path = folder / "config.json"
    merged = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))
    return folder


def model_of(folder, **settings):
    return load_model(str(folder), read_arguments(settings)).model


@pytest.fixture(scope="session")
def logits(transformers):
    """The logits of transformers' class of the same name in float32, as [length, classes] or [classes]."""

    def logits(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        model = getattr(transformers, config.architectures[0])(config).eval()
        tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        lost = model.load_state_dict(tensors, strict=False)
        assert not lost.unexpected_keys
        assert set(lost.missing_keys) <= {"lm_head.weight"}
        model.tie_weights()
        with torch.inference_mode():
            return [model(torch.tensor([ids])).logits[0].numpy() for ids in prompts]

    return logits


# --- embed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Qwen2ForCausalLM",
        "Qwen2ForTextEncoding",
        "Qwen2EmbeddingModel",
        "Qwen2ForRewardModeling",
        "Qwen2ForConditionalGeneration",
        "Qwen2LMHeadModel",
        "Qwen2ChatModel",
    ],
)
def test_what_a_family_is_served_by_is_its_backbone(tmp_path, load, name):
    backbone = load(tiny("Qwen2Model", tmp_path / "backbone"))
    llm = load(
        tiny("Qwen2Model", tmp_path / "named", architectures=["Qwen2Model"]), hf_overrides={"architectures": [name]}
    )
    assert llm.model_config.tasks == backbone.model_config.tasks
    prompts = prompts_of(SHORT)
    assert worst(found(llm, prompts, "embed", None), found(backbone, prompts, "embed", None)) == 0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen3ForCausalLM"])
def test_a_head_for_the_next_token_is_left_out(tmp_path, load, hidden, name, tied):
    folder = tiny(name, tmp_path, tie_word_embeddings=tied)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not tied
    llm = load(folder)
    prompts = prompts_of(SHORT)
    last = [rows[-1] / np.linalg.norm(rows[-1]) for rows in hidden(llm, prompts)]
    assert worst(found(llm, prompts, "embed", None), last) <= TOLERANCE
    assert all(
        parameter.shape[0] < len(WORDS) or "embeddings" in n for n, parameter in model_of(folder).named_parameters()
    )


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "RobertaForTokenClassification"])
def test_a_classifier_is_made_an_embedding_model_on_request(tmp_path, load, name):
    folder = tiny(name, tmp_path)
    backbone = f"{name.partition('For')[0]}Model"
    rewritten = tiny(backbone, tmp_path / "backbone")
    prefix = f"{name.partition('For')[0].lower()}."
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(f"{prefix}e")},
        rewritten / "model.safetensors",
    )
    llm = load(folder, convert="embed", pooler_config={"pooling_type": "CLS"})
    assert {"embed", "token_embed"} <= set(llm.model_config.tasks)
    prompts = prompts_of(SHORT)
    assert worst(found(llm, prompts, "embed", None), found(load(rewritten), prompts, "embed", None)) == 0


def test_conversion_may_be_forbidden(tmp_path, load):
    with pytest.raises(UnknownNameError, match="no plugin brings the architecture 'Qwen2ForCausalLM'"):
        load(tiny("Qwen2ForCausalLM", tmp_path), convert="none")


# --- classify: a linear map named score ----------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2"])
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, load, logits, family, head):
    folder = tiny(f"{family}For{head}", tmp_path, num_labels=3)
    assert ("score.bias" in load_file(folder / "model.safetensors")) is (head == "TokenClassification")
    llm = load(folder)
    assert set(llm.model_config.tasks) == {"classify", "token_classify"}
    task = "classify" if head == "SequenceClassification" else "token_classify"
    prompts = prompts_of(LENGTHS)
    expected = logits(folder, prompts)
    together = found(llm, prompts, task)
    assert worst(together, expected) <= TOLERANCE
    assert worst([found(llm, prompt, task)[0] for prompt in prompts], together) <= TOLERANCE
    assert worst(found(llm, prompts, task, None), list(map(softmax, expected))) <= TOLERANCE


def test_classify_pools_the_last_token_unless_somebody_says_otherwise(tmp_path, load):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    prompts = prompts_of(SHORT)
    llm = load(folder)
    tokens = found(llm, prompts, "token_classify")
    assert worst(found(llm, prompts, "classify"), [rows[-1] for rows in tokens]) <= TOLERANCE
    mean = load(folder, pooler_config={"pooling_type": "MEAN"})
    assert worst(found(mean, prompts, "classify"), [rows.mean(0) for rows in tokens]) <= TOLERANCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_16_bit_checkpoint_in_float32_equals_transformers(tmp_path, load, logits, dtype):
    folder = tiny("Qwen3ForSequenceClassification", tmp_path, num_labels=3, dtype=dtype)
    prompts = prompts_of((1, 20, 64))
    assert worst(found(load(folder, dtype="float32"), prompts, "classify"), logits(folder, prompts)) <= TOLERANCE


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_the_head_stays_in_float32(tmp_path, settings):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    head = model_of(folder, **settings).classifier
    assert isinstance(head, Linear)
    assert head.dtype == torch.float32
    rows = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    expected = rows @ load_file(folder / "model.safetensors")["score.weight"].T
    with torch.inference_mode():
        assert float((head(rows) - expected).abs().max()) <= TOLERANCE


def test_int8_is_near(tmp_path, load, logits):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3, hidden_size=64, intermediate_size=128)
    prompts = prompts_of((3, 20, 64))
    llm = load(folder, quantization="int8")
    assert 0 < worst(found(llm, prompts, "classify"), logits(folder, prompts)) <= 0.1


def test_deterministic_results_do_not_depend_on_mates(tmp_path, load):
    llm = load(tiny("Qwen3ForSequenceClassification", tmp_path, num_labels=3), deterministic=True)
    prompts = prompts_of(LENGTHS)
    alone = [found(llm, prompt, "classify")[0] for prompt in prompts]
    for order in (slice(None), slice(None, None, -1), slice(3, 9)):
        together = found(llm, prompts[order], "classify")
        assert all(np.array_equal(one, other) for one, other in zip(together, alone[order], strict=True))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_names_may_have_no_prefix(tmp_path, load, prefix):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    prompts = prompts_of(SHORT)
    before = found(load(folder), prompts, "classify")
    rewrite(folder, lambda tensors: {f"{prefix}{name.removeprefix('model.')}": t for name, t in tensors.items()})
    assert worst(found(load(folder), prompts, "classify"), before) == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("BertModel", {"convert": "classify"}),
        ("Qwen2Model", {"convert": "classify"}),
        ("Qwen2ForCausalLM", {"hf_overrides": {"architectures": ["Qwen2ForSequenceClassification"]}}),
    ],
)
def test_a_checkpoint_without_a_head_is_no_classifier(tmp_path, load, name, settings):
    with pytest.raises(CheckpointError, match=r"has none: missing \(1\): score\.weight \[2, 32\]"):
        load(tiny(name, tmp_path), **settings)


def test_a_head_of_another_width_than_config_json_says_is_refused(tmp_path, load):
    folder = tiny("Qwen2ForSequenceClassification", tmp_path, num_labels=3)
    with pytest.raises(CheckpointError, match=r"'score\.weight' has the shape \[3, 32\], where .* \[4, 32\]"):
        load(folder, hf_overrides={"num_labels": 4})


def test_a_token_classifier_classifies_wholes_on_request(tmp_path, load):
    llm = load(tiny("BertForTokenClassification", tmp_path, num_labels=3), convert="classify")
    assert set(llm.model_config.tasks) == {"classify", "token_classify"}
    prompts = prompts_of(SHORT)
    last = [rows[-1] for rows in found(llm, prompts, "token_classify")]
    assert worst(found(llm, prompts, "classify"), last) <= TOLERANCE


# --- classify: rows of the head for the next token -----------------------------------------------------------------


def as_classifier(name, **more):
    return {"architectures": [name.replace("ForCausalLM", "ForSequenceClassification")], **more}


TWO_WAY = {"classifier_from_token": ["no", "good"], "method": "from_2_way_softmax"}


@pytest.mark.parametrize(
    ("name", "tied"),
    [
        ("LlamaForCausalLM", False),
        ("LlamaForCausalLM", True),
        ("Qwen2ForCausalLM", True),
        ("Qwen3ForCausalLM", False),
        ("Qwen3ForCausalLM", True),
        ("GemmaForCausalLM", True),
    ],
)
def test_rows_of_the_vocabulary_are_the_classifier(tmp_path, load, logits, name, tied):
    folder = tiny(name, tmp_path, tie_word_embeddings=tied)
    prompts = prompts_of(LENGTHS)
    last = [rows[-1] for rows in logits(folder, prompts)]
    several = load(
        folder,
        hf_overrides=as_classifier(name, classifier_from_token_ids=[YES, NO, BAD], method="no_post_processing"),
    )
    assert several.model_config.num_labels == 3
    assert worst(found(several, prompts, "classify"), [rows[[YES, NO, BAD]] for rows in last]) <= TOLERANCE
    two = load(folder, hf_overrides=as_classifier(name, **TWO_WAY))
    assert "score" in two.supported_tasks
    expected = [softmax(rows[[NO, YES]])[1:] for rows in last]
    assert worst(found(two, prompts, "classify", None), expected) <= TOLERANCE
    assert worst(found(two, prompts, "classify"), [rows[[YES]] - rows[[NO]] for rows in last]) <= 2 * TOLERANCE


def test_one_token_alone_is_a_score(tmp_path, load, logits):
    folder = tiny("GemmaForCausalLM", tmp_path)
    name = "GemmaForCausalLM"
    llm = load(folder, hf_overrides=as_classifier(name, classifier_from_token=["good"], method="no_post_processing"))
    prompts = prompts_of(SHORT)
    expected = [1 / (1 + np.exp(-rows[-1][[YES]])) for rows in logits(folder, prompts)]
    assert worst(found(llm, prompts, "classify", None), expected) <= TOLERANCE


def test_the_original_reranker_of_qwen3_needs_no_method(tmp_path, load):
    folder = tiny("Qwen3ForCausalLM", tmp_path)
    prompts = prompts_of(SHORT)
    said = {"classifier_from_token": ["no", "good"], "is_original_qwen3_reranker": True}
    original = load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **said))
    two_way = load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY))
    assert original.model_config.num_labels == 1
    assert worst(found(original, prompts, "classify"), found(two_way, prompts, "classify")) == 0


@pytest.mark.parametrize("stated", [None, True])
def test_embeddings_stand_in_where_there_is_no_head(tmp_path, load, stated):
    folder = tiny("Qwen3ForCausalLM", tmp_path)  # its embeddings are tied
    prompts = prompts_of(SHORT)
    expected = found(load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY)), prompts, "classify")
    change_config(folder, tie_word_embeddings=stated)
    assert (
        worst(
            found(load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY)), prompts, "classify"),
            expected,
        )
        == 0
    )


def test_a_head_that_is_there_goes_before_the_embeddings_unless_they_are_tied(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = prompts_of(SHORT)
    own = found(load(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY)), prompts, "classify")
    for stated, same in ((None, True), (True, False)):
        change_config(folder, tie_word_embeddings=stated)
        again = found(load(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY)), prompts, "classify")
        assert (worst(again, own) == 0) is same


def test_rows_of_16_bits_are_subtracted_in_32(tmp_path):
    folder = tiny("LlamaForCausalLM", tmp_path, dtype="bfloat16")
    head = model_of(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY)).classifier
    rows = load_file(folder / "model.safetensors")["lm_head.weight"].float()
    with torch.inference_mode():
        found_row = head(torch.eye(32))[:, 0]
    assert torch.allclose(found_row, rows[YES] - rows[NO], rtol=0, atol=1e-7)
    assert not torch.equal(rows[YES] - rows[NO], (rows[YES] - rows[NO]).bfloat16().float())


def test_the_head_is_not_kept(tmp_path):
    folder = tiny("LlamaForCausalLM", tmp_path)
    model = model_of(folder, hf_overrides=as_classifier("LlamaForCausalLM", **TWO_WAY))
    tables = [name for name, parameter in model.named_parameters() if len(parameter) == len(WORDS)]
    assert tables == ["embeddings.weight"]


def test_biases_of_the_head_are_those_of_the_classifier(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = prompts_of(SHORT)
    settings = {"hf_overrides": as_classifier("LlamaForCausalLM", **TWO_WAY)}
    plain = found(load(folder, **settings), prompts, "classify")
    bias = torch.randn(len(WORDS), generator=torch.Generator().manual_seed(7))
    rewrite(folder, lambda tensors: tensors | {"lm_head.bias": bias})
    shifted = [rows + float(bias[YES] - bias[NO]) for rows in plain]
    assert worst(found(load(folder, **settings), prompts, "classify"), shifted) <= TOLERANCE


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"classifier_from_token": ["no", "yonder"]}, r"classifier_from_token: 'yonder' is not one token.* 6 of it"),
        ({"classifier_from_token": ["no", "good man"]}, r"'good man' is not one token.* 2 of it"),
        ({"classifier_from_token": ["no", "ß"]}, "'ß' is not one token"),
        ({"classifier_from_token": ["no", 7]}, r"classifier_from_token must be a list of tokens as text; got 7"),
        ({"classifier_from_token": "no"}, r"classifier_from_token must be a list of tokens; got 'no'"),
        ({"classifier_from_token": []}, r"classifier_from_token must be a list of tokens; got \[\]"),
        ({"classifier_from_token_ids": ["no"]}, r"classifier_from_token_ids must be a list of token ids; got 'no'"),
        ({"classifier_from_token_ids": [-1]}, r"classifier_from_token_ids must be a list of token ids; got -1"),
        ({"classifier_from_token_ids": [True]}, r"classifier_from_token_ids must be a list of token ids; got True"),
        ({"classifier_from_token_ids": [5, 9999]}, "9999 is no token"),
        ({"classifier_from_token": ["no", "good"], "method": "sum"}, r"method='sum' is not known.*from_2_way_softmax"),
        ({"classifier_from_token": ["no"], "method": "from_2_way_softmax"}, "takes two tokens.*got 1"),
        ({"classifier_from_token": ["no"], "is_original_qwen3_reranker": True}, "reranker takes two tokens.*got 1"),
        ({**TWO_WAY, "tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false; got 'yes'"),
        ({**TWO_WAY, "tie_word_embeddings": False}, "has no lm_head.weight"),
    ],
    ids=str,
)
def test_tokens_that_make_no_classifier_are_refused_by_name(tmp_path, load, said, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny("Qwen3ForCausalLM", tmp_path), hf_overrides=as_classifier("Qwen3ForCausalLM", **said))


@pytest.mark.parametrize("shape", [(), (0, 32), (32,), (len(WORDS), 31)], ids=str)
def test_a_misshapen_head_is_refused(tmp_path, load, shape):
    folder = tiny("LlamaForCausalLM", tmp_path)
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": torch.ones(shape)})
    wanted = {"hf_overrides": as_classifier("LlamaForCausalLM", classifier_from_token_ids=[0, 40])}
    steps = ({}, {"returned_token_ids": [0, 40]})
    for settings in (wanted, *({"pooler_config": {"pooling_type": "STEP", **more}} for more in steps)):
        with pytest.raises(CheckpointError, match=r"has the shape|is no token"):
            load(folder, **settings)


def test_tokens_as_text_need_a_tokenizer(tmp_path, load):
    folder = tiny("Qwen3ForCausalLM", tmp_path)
    with pytest.raises(CheckpointError, match=r"needs the model's tokenizer.*classifier_from_token_ids"):
        load(folder, hf_overrides=as_classifier("Qwen3ForCausalLM", **TWO_WAY), skip_tokenizer_init=True)


def test_a_published_reranker_is_known_by_its_name(tmp_path, load, logits):
    folder = tiny("Qwen3ForCausalLM", tmp_path / "Qwen3-Reranker-0.6B")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"good"', '"yes"'))
    prompts = prompts_of(SHORT)
    expected = [softmax(rows[-1][[NO, YES]])[1:] for rows in logits(folder, prompts)]
    assert worst(found(load(folder), prompts, "classify", None), expected) <= TOLERANCE


# --- classify: the Dense modules of a CrossEncoder -----------------------------------------------------------------


@pytest.fixture(scope="session")
def cross_encoder():
    """Save a CrossEncoder of sentence-transformers: Transformer, Pooling, Dense modules."""
    base = importlib.import_module("sentence_transformers.base.modules")
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    cross_encoder = importlib.import_module("sentence_transformers").CrossEncoder

    def save(source, folder, *, pooling="mean", labels=1, hidden=None):
        torch.manual_seed(6)
        chain = [base.Transformer(str(source)), modules.Pooling(32, pooling_mode=pooling)]
        if hidden is not None:
            chain.append(base.Dense(32, hidden, activation_function=torch.nn.Tanh()))
        last = torch.nn.Identity()
        chain.append(base.Dense(hidden or 32, labels, activation_function=last, module_output_name="scores"))
        model = cross_encoder(modules=chain)
        model.save_pretrained(str(folder))
        return model

    return save


@pytest.mark.parametrize(
    ("name", "kind"),
    [("BertModel", {"pooling": "mean"}), ("BertModel", {"pooling": "cls", "labels": 3, "hidden": 8})],
    ids=str,
)
def test_a_chain_of_a_cross_encoder_equals_sentence_transformers(tmp_path, load, cross_encoder, name, kind):
    theirs = cross_encoder(tiny(name, tmp_path / "source"), tmp_path / "saved", **kind)
    llm = load(tmp_path / "saved")
    assert llm.model_config.num_labels == kind.get("labels", 1)
    prompts = prompts_of(SHORT)
    with torch.inference_mode():
        expected = [
            theirs({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))})["scores"][0].numpy()
            for ids in prompts
        ]
    assert worst(found(llm, prompts, "classify"), expected) <= TOLERANCE
    if "labels" not in kind:
        pairs = [("the cat", "a dog"), ("a bird", "the old mill by the pond")]
        scores = [out.outputs.score for out in llm.score(*map(list, zip(*pairs, strict=True)), use_tqdm=False)]
        assert np.abs(np.array(scores) - theirs.predict(pairs)).max() <= TOLERANCE


@pytest.mark.parametrize("false", [NO, None])
@pytest.mark.parametrize("name", ["Qwen3ForCausalLM", "LlamaForCausalLM"])
def test_a_logit_score_of_a_cross_encoder_equals_sentence_transformers(tmp_path, load, name, false):
    base = importlib.import_module("sentence_transformers.base.modules")
    score = importlib.import_module("sentence_transformers.cross_encoder.modules").LogitScore
    source = base.Transformer(str(tiny(name, tmp_path / "source")), transformer_task="text-generation")
    chain = [source, score(true_token_id=YES, false_token_id=false)]
    theirs = importlib.import_module("sentence_transformers").CrossEncoder(modules=chain)
    theirs.save_pretrained(str(tmp_path / "saved"))
    prompts = prompts_of(SHORT)
    with torch.inference_mode():
        expected = [
            theirs({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))})["scores"][0].numpy()
            for ids in prompts
        ]
    llm = load(tmp_path / "saved")
    assert llm.model_config.num_labels == 1
    assert worst(found(llm, prompts, "classify"), expected) <= TOLERANCE
    assert worst(found(llm, prompts, "classify", None), [1 / (1 + np.exp(-score)) for score in expected]) <= TOLERANCE


def test_dense_modules_of_an_embedding_model_are_no_classifier(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder, dense=[DenseLayer(in_features=32, out_features=8)])
    with pytest.raises(CheckpointError, match=r"score\.weight"):
        load(folder, convert="classify")


# --- judges of steps -----------------------------------------------------------------------------------------------

STEP = {"pooling_type": "STEP", "step_tag_id": TAG}


def steps(rows, prompts, tokens):
    return [row[np.array(ids) == TAG][:, list(tokens)] for row, ids in zip(rows, prompts, strict=True)]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(
    ("name", "tied"),
    [("MistralForCausalLM", False), ("LlamaForCausalLM", True), ("Qwen3ForCausalLM", True), ("GemmaForCausalLM", None)],
)
def test_a_causal_language_model_judges_steps_by_its_vocabulary(tmp_path, load, logits, name, tied, fixed):
    folder = tiny(name, tmp_path, **({} if tied is None else {"tie_word_embeddings": tied}))
    prompts = prompts_of(LENGTHS)
    rows = logits(folder, prompts)
    assert 0 < sum(ids.count(TAG) for ids in prompts) < sum(LENGTHS)
    assert not all(TAG in ids for ids in prompts)
    llm = load(folder, pooler_config={**STEP, **({"returned_token_ids": [YES, BAD]} if fixed else {})})
    assert llm.model_config.tasks == ("token_classify",)
    asked = None if fixed else PoolingParams(returned_token_ids=(YES, BAD))
    expected = list(map(softmax, steps(rows, prompts, (YES, BAD))))
    together = found(llm, prompts, "token_classify", asked)
    assert {array.shape[0] for array in together} >= {0, 1}
    assert worst(together, expected) <= TOLERANCE
    assert worst([found(llm, prompt, "token_classify", asked)[0] for prompt in prompts], together) <= TOLERANCE
    raw = found(llm, prompts, "token_classify", PoolingParams(returned_token_ids=(BAD, YES), use_activation=False))
    assert worst(raw, steps(rows, prompts, (BAD, YES))) <= TOLERANCE


def test_without_a_tag_every_token_is_judged(tmp_path, load, logits):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = prompts_of(SHORT)
    llm = load(folder, pooler_config={"pooling_type": "STEP", "returned_token_ids": [YES, NO, BAD]})
    expected = [softmax(rows[:, [YES, NO, BAD]]) for rows in logits(folder, prompts)]
    assert worst(found(llm, prompts, "token_classify", None), expected) <= TOLERANCE


def test_each_request_names_its_own_tokens_and_tag(tmp_path, load, logits):
    folder = tiny("LlamaForCausalLM", tmp_path)
    llm = load(folder, pooler_config='{"pooling_type": "STEP"}')
    (prompt,) = prompts_of([40])
    (rows,) = logits(folder, [prompt])
    other = prompt[3]
    params = [
        PoolingParams(returned_token_ids=(YES, NO), step_tag_id=TAG),
        PoolingParams(returned_token_ids=(NO, BAD, YES), step_tag_id=other),
        PoolingParams(returned_token_ids=(BAD,), use_activation=False),
    ]
    ids = np.array(prompt)
    expected = [
        softmax(rows[ids == TAG][:, [YES, NO]]),
        softmax(rows[ids == other][:, [NO, BAD, YES]]),
        rows[:, [BAD]],
    ]
    assert worst(found(llm, [prompt] * 3, "token_classify", params), expected) <= TOLERANCE


@pytest.mark.parametrize("tied", [True, False])
def test_no_more_of_the_head_is_kept_than_may_be_asked_for(tmp_path, tied):
    folder = tiny("LlamaForCausalLM", tmp_path, tie_word_embeddings=tied)
    fixed = model_of(folder, pooler_config={**STEP, "returned_token_ids": [YES, NO]})
    assert [name for name, p in fixed.named_parameters() if len(p) == len(WORDS)] == ["embeddings.weight"]
    free = model_of(folder, pooler_config=STEP, dtype="bfloat16")
    assert free.tokens.weight.dtype == torch.bfloat16
    assert (free.tokens.weight.data_ptr() == free.embeddings.weight.data_ptr()) is tied


def test_in_16_bits_the_rows_are_computed_in_32(tmp_path):
    folder = tiny("LlamaForCausalLM", tmp_path)
    free = model_of(folder, pooler_config=STEP, dtype="bfloat16")
    rows = load_file(folder / "model.safetensors")["lm_head.weight"].bfloat16().float()[[YES, NO]]
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        assert torch.allclose(free.tokens(x, (YES, NO)), x @ rows.T, rtol=0, atol=1e-5)


def test_biases_of_the_vocabulary_are_added(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    prompts = prompts_of(SHORT)
    asked = PoolingParams(returned_token_ids=(YES, NO), use_activation=False)
    configs = (STEP, {**STEP, "returned_token_ids": [YES, NO]})
    plain = found(load(folder, pooler_config=STEP), prompts, "token_classify", asked)
    bias = torch.randn(len(WORDS), generator=torch.Generator().manual_seed(7))
    rewrite(folder, lambda tensors: tensors | {"lm_head.bias": bias})
    shifted = [rows + bias[[YES, NO]].numpy() for rows in plain]
    for config in configs:
        assert worst(found(load(folder, pooler_config=config), prompts, "token_classify", asked), shifted) <= TOLERANCE


def test_without_tokens_there_is_nothing_to_judge_by(tmp_path, load):
    llm = load(tiny("LlamaForCausalLM", tmp_path), pooler_config=STEP)
    with pytest.raises(InvalidInputError, match="needs returned_token_ids") as caught:
        found(llm, prompts_of(SHORT), "token_classify", None)
    assert caught.value.parameter == "returned_token_ids"


def test_tokens_that_there_are_not_are_refused_by_name(tmp_path, load):
    folder = tiny("LlamaForCausalLM", tmp_path)
    llm = load(folder, pooler_config=STEP)
    with pytest.raises(InvalidInputError, match=rf"returned_token_ids=\[5, 9999\]: the vocabulary has {len(WORDS)}"):
        found(llm, [[5, TAG]], "token_classify", PoolingParams(returned_token_ids=(5, 9999)))
    fixed = load(folder, pooler_config={**STEP, "returned_token_ids": [YES, NO]})
    with pytest.raises(InvalidInputError, match=rf"was loaded for \[{YES}, {NO}\] alone") as caught:
        found(fixed, [[5, TAG]], "token_classify", PoolingParams(returned_token_ids=(YES, BAD)))
    assert caught.value.parameter == "returned_token_ids"
    with pytest.raises(CheckpointError, match="returned_token_ids: 9999 is no token"):
        load(folder, pooler_config={**STEP, "returned_token_ids": [YES, 9999]})


def test_one_request_at_fault_costs_no_other(tmp_path, load):
    llm = load(tiny("LlamaForCausalLM", tmp_path), pooler_config=STEP)
    prompts = prompts_of((9, 9, 9), seed=4)
    good = PoolingParams(returned_token_ids=(YES, NO))
    params = [good, PoolingParams(), good]
    stats = llm._engine.stats  # noqa: SLF001  nobody else tells how often it computed
    batches = stats.batches
    outputs = llm.encode(prompts, params, pooling_task="token_classify", on_error="return", use_tqdm=False)
    assert [output.error is None for output in outputs] == [True, False, True]
    assert stats.batches == batches + 1  # the one at fault is told before the others are computed
    assert worst([outputs[2].outputs.array], found(llm, [prompts[2]], "token_classify", good)) <= TOLERANCE


def test_a_checkpoint_without_a_head_cannot_judge(tmp_path, load):
    folder = rewrite(
        tiny("LlamaForCausalLM", tmp_path),
        lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"},
    )
    for config in (STEP, {**STEP, "returned_token_ids": [YES, NO]}):
        with pytest.raises(CheckpointError, match=r"has no lm_head\.weight"):
            load(folder, pooler_config=config)


def test_steps_are_what_judges_pool(tmp_path, load):
    with pytest.raises(InvalidInputError, match="pools by STEP, and not by ALL") as caught:
        load(tiny("LlamaForCausalLM", tmp_path), convert="process_reward")
    assert caught.value.parameter == "pooler_config"
