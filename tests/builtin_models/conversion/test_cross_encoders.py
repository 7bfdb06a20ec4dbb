"""CrossEncoders of sentence-transformers whose classifier is Dense modules or a LogitScore module."""

import importlib

import numpy as np
import pytest
import torch
from model_kit import difference, run_task, step_prompts

from millpond import CheckpointError
from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_sentence_transformers

WORDS = vocabulary("decoder")
NO, YES = WORDS["no"], WORDS["good"]
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value if that is above 1


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
def test_modules_of_a_cross_encoder_equal_sentence_transformers(tmp_path, load, cross_encoder, name, kind):
    theirs = cross_encoder(tiny(name, tmp_path / "source"), tmp_path / "saved", **kind)
    llm = load(tmp_path / "saved")
    assert llm.model_config.classification.num_labels == kind.get("labels", 1)
    prompts = step_prompts(FEW_LENGTHS)
    with torch.inference_mode():
        expected = [
            theirs({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))})["scores"][0].numpy()
            for ids in prompts
        ]
    assert difference(run_task(llm, prompts, "classify"), expected) <= TOLERANCE
    if "labels" not in kind:
        pairs = [("the cat", "a dog"), ("a bird", "the old mill by the pond")]
        scores = [out.outputs.score for out in llm.score(*map(list, zip(*pairs, strict=True)), use_tqdm=False)]
        assert np.abs(np.array(scores) - theirs.predict(pairs)).max() <= TOLERANCE


def test_a_saved_cross_encoder_of_a_decoder_joins_pairs_by_its_tokenizer(tmp_path, load):
    source = tiny("MistralForSequenceClassification", tmp_path / "source", num_labels=1)
    theirs = importlib.import_module("sentence_transformers").CrossEncoder(str(source), device="cpu")
    theirs.save_pretrained(str(tmp_path / "saved"))
    pairs = [("the cat", "a dog"), ("a bird", "the old mill by the pond")]
    texts = [list(side) for side in zip(*pairs, strict=True)]
    scores = [output.outputs.score for output in load(tmp_path / "saved").score(*texts, use_tqdm=False)]
    assert np.abs(np.array(scores) - theirs.predict(pairs)).max() <= TOLERANCE
    joined = load(tmp_path / "saved", hf_overrides={"use_sep_token": False}).score(*texts, use_tqdm=False)
    plain = load(source).score(*texts, use_tqdm=False)
    assert [output.outputs.score for output in joined] == [output.outputs.score for output in plain]


@pytest.mark.parametrize("false", [NO, None])
@pytest.mark.parametrize("name", ["Qwen3ForCausalLM", "LlamaForCausalLM"])
def test_a_logit_score_of_a_cross_encoder_equals_sentence_transformers(tmp_path, load, name, false):
    base = importlib.import_module("sentence_transformers.base.modules")
    score = importlib.import_module("sentence_transformers.cross_encoder.modules").LogitScore
    source = base.Transformer(str(tiny(name, tmp_path / "source")), transformer_task="text-generation")
    chain = [source, score(true_token_id=YES, false_token_id=false)]
    theirs = importlib.import_module("sentence_transformers").CrossEncoder(modules=chain)
    theirs.save_pretrained(str(tmp_path / "saved"))
    prompts = step_prompts(FEW_LENGTHS)
    with torch.inference_mode():
        expected = [
            theirs({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))})["scores"][0].numpy()
            for ids in prompts
        ]
    llm = load(tmp_path / "saved")
    assert llm.model_config.classification.num_labels == 1
    assert difference(run_task(llm, prompts, "classify"), expected) <= TOLERANCE
    assert (
        difference(run_task(llm, prompts, "classify", None), [1 / (1 + np.exp(-score)) for score in expected])
        <= TOLERANCE
    )


def test_dense_modules_of_an_embedding_model_are_not_a_classifier(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder, dense=[DenseLayer(in_features=32, out_features=8)])
    with pytest.raises(CheckpointError, match=r"score\.weight"):
        load(folder, convert="classify")
