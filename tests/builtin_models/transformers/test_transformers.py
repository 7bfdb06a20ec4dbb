"""Model classes of transformers as fallback: the same results as direct calls, in any batch."""

import json

import numpy as np
import pytest
import torch
from fallback_kit import BARE, FUNNEL, LENGTHS, PROMPTS, alone, asked, error, prompts_of
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, PoolingParams
from millpond.nn import PackedBatch
from millpond.testing.checkpoints import write_sentence_transformers, write_tokenizer
from millpond_transformers.padding import Padding, group_by_length

JAMBA = {"num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4} | {
    f"{kind}_layer_{part}": value for kind in ("attn", "expert") for part, value in (("period", 2), ("offset", 1))
}


T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
BART = {
    f"{part}_{key}": value
    for part in ("encoder", "decoder")
    for key, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
} | {"d_model": 32}


XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "max_position_embeddings": None}
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 32}
MIXTRAL = {"num_local_experts": 2}
LONGFORMER = {"attention_window": 8, "pad_token_id": 1, "sep_token_id": 2}


# The pooling of each architecture, and the config.json of a small model.
MODELS = {
    "ElectraModel": ("CLS", {"embedding_size": 24}),
    "AlbertModel": ("CLS", {"embedding_size": 24}),
    "FNetModel": ("CLS", {}),
    "T5EncoderModel": ("MEAN", T5),
    "OPTModel": ("LAST", OPT),
    "Olmo2Model": ("LAST", {}),
    "JambaModel": ("LAST", JAMBA),
    "MixtralModel": ("LAST", MIXTRAL),
    "XLNetModel": ("LAST", XLNET),
}


CLASSIFIERS = {
    "ElectraForSequenceClassification": ("CLS", {"embedding_size": 24}),
    "AlbertForSequenceClassification": ("CLS", {"embedding_size": 24}),
    "PhiForSequenceClassification": ("LAST", {}),
    "OPTForSequenceClassification": ("LAST", OPT),
    "JambaForSequenceClassification": ("LAST", JAMBA),
    "BartForSequenceClassification": ("LAST", BART),
    "XLNetForSequenceClassification": ("LAST", XLNET),
    "LongformerForSequenceClassification": ("CLS", LONGFORMER),
    "BigBirdForSequenceClassification": ("CLS", {}),
    "MraForSequenceClassification": ("CLS", {"max_position_embeddings": 64}),
}


TOKEN_CLASSIFIERS = {
    "ElectraForTokenClassification": {"embedding_size": 24},
    "FalconForTokenClassification": {"num_key_value_heads": None},
}


# --- equal to transformers ------------------------------------------------------------------------------------------


def slow(names, *quick):
    """Return the names, with all except the quick ones marked slow: each class takes time to import."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow(MODELS, "ElectraModel", "Olmo2Model"))
def test_hidden_states_in_a_batch_of_mixed_lengths_are_those_of_the_class(make, load, name):
    pooling, settings = MODELS[name]
    folder, model = make(name, **settings)
    llm, expected = load(folder), alone(model)
    assert error(asked(llm, "token_embed"), expected) <= 1e-4
    pooled = [rows.mean(0) if pooling == "MEAN" else rows[0 if pooling == "CLS" else -1] for rows in expected]
    assert error(asked(llm, "embed"), pooled) <= 1e-4
    assert llm.model_config.identity.implementation == "transformers"
    assert llm.model_config.architecture == name


@pytest.mark.parametrize(
    "name",
    slow(
        CLASSIFIERS,
        "ElectraForSequenceClassification",
        "JambaForSequenceClassification",
        "LongformerForSequenceClassification",
        "BigBirdForSequenceClassification",
    ),
)
def test_classes_of_texts_are_those_of_the_class(make, load, name):
    _, settings = CLASSIFIERS[name]
    folder, model = make(name, **settings)
    llm = load(folder)
    expected = alone(model)
    assert error(asked(llm, "classify"), expected) <= 1e-4
    probable = [torch.softmax(logits, -1) for logits in expected]
    assert error([np.array(o.outputs.probs) for o in llm.classify(PROMPTS, use_tqdm=False)], probable) <= 1e-4 or (
        name.startswith("Jamba")
    )
    rows = asked(llm, "token_classify")
    assert [len(output) for output in rows] == list(LENGTHS)
    assert all(
        np.abs(output[-1] - np.asarray(last)).max() < 1e-4 for output, last in zip(rows, expected, strict=True)
    ) is (CLASSIFIERS[name][0] == "LAST")


@pytest.mark.parametrize("name", slow(TOKEN_CLASSIFIERS, "ElectraForTokenClassification"))
def test_classes_of_tokens_are_those_of_the_class(make, load, name):
    folder, model = make(name, **TOKEN_CLASSIFIERS[name])
    llm = load(folder)
    assert llm.model_config.tasks == ("token_classify",)
    assert error(asked(llm, "token_classify"), alone(model)) <= 1e-4


@pytest.mark.slow
def test_funnel_reads_texts_of_sufficient_length(make, load):
    """Its layers pool every second token: padding would change the results, and two tokens are too few."""
    prompts = [ids for ids in PROMPTS if len(ids) > 2]
    for name, task in (("FunnelModel", "token_embed"), ("FunnelForTokenClassification", "token_classify")):
        folder, model = make(name, **FUNNEL)
        assert error(asked(load(folder), task, prompts), alone(model, prompts)) <= 1e-4


@pytest.mark.slow
def test_language_models_embed_without_their_heads(make, load):
    for name, settings in (("PhiForCausalLM", {}), ("ElectraForMaskedLM", {}), ("T5ForConditionalGeneration", T5)):
        folder, model = make(name, **settings)
        body = model.get_encoder() if name.startswith("T5") else model.base_model
        assert error(asked(load(folder), "token_embed"), alone(body)) <= 1e-4


def test_a_family_without_a_classifying_class_gets_one_by_the_converter(make, load, tmp_path):
    folder, model = make("Olmo2Model")
    tensors = {f"model.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    score = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    save_file({**tensors, "score.weight": score}, folder / "model.safetensors")
    llm = load(folder, hf_overrides={"architectures": ["Olmo2ForImageClassification"], "num_labels": 3})
    assert error(asked(llm, "classify"), [rows[-1] @ score.T for rows in alone(model)]) <= 1e-4


def test_a_causal_language_model_rates_steps(make, load):
    folder, model = make("OlmoForCausalLM", tie_word_embeddings=True)
    llm = load(folder, pooler_config={"pooling_type": "STEP", "step_tag_id": 2})
    params = PoolingParams(returned_token_ids=[7, 9])
    expected = [torch.softmax(rows[-1:, [7, 9]], -1) for rows in alone(model)]
    assert error(asked(llm, "token_classify", params=params), expected) <= 1e-4


def test_scores_and_files_of_sentence_transformers_are_unchanged(make, load):
    folder, _ = make("ElectraForSequenceClassification", num_labels=1, vocab_size=200)
    write_tokenizer(folder)
    (one,) = load(folder).score("an old mill", "by the pond", use_tqdm=False)
    (row,) = load(folder).classify([{"prompt": "an old mill", "text_pair": "x"}["prompt"]], use_tqdm=False)
    assert 0 < one.outputs.score < 1
    assert one.outputs.score != row.outputs.probs[0]
    folder, model = make("ElectraModel", vocab_size=200)
    write_tokenizer(folder)
    write_sentence_transformers(folder, pooling="mean", layout="old")
    (output,) = load(folder).embed(["the old mill by the pond"], use_tqdm=False)
    mean = alone(model, [output.prompt_token_ids])[0].mean(0)
    assert error([output.outputs.array], [mean / mean.norm()]) <= 1e-4


def test_the_second_text_of_a_pair_has_its_token_type(make, load):
    folder, model = make("ElectraForSequenceClassification", num_labels=1, vocab_size=200)
    write_tokenizer(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "BertTokenizer"}))
    (output,) = load(folder).score("an old mill", "by the pond", pooling_params=BARE, use_tqdm=False)
    ids = output.prompt_token_ids
    segments = [0] * (ids.index(3) + 1)
    segments += [1] * (len(ids) - len(segments))
    with torch.inference_mode():
        expected = model(torch.tensor([ids]), token_type_ids=torch.tensor([segments])).logits.item()
    assert output.outputs.score == pytest.approx(expected, abs=1e-4)


# --- computed -------------------------------------------------------------------------------------------------------


def test_a_config_may_have_a_decoder_attend_in_both_directions(make, load):
    folder, _ = make("Olmo2Model")
    causal, both = (load(folder, hf_overrides={"is_causal": way}) for way in (True, False))
    prompts = [ids for ids in PROMPTS if len(ids) > 1]
    changed = [[*ids[:-1], 7] for ids in prompts]
    first = [
        [rows[0] for rows in asked(llm, "token_embed", ids)] for llm in (causal, both) for ids in (prompts, changed)
    ]
    assert error(first[0], first[1]) == 0
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(first[2], first[3], strict=True))
    together, single = asked(both, "token_embed"), [asked(both, "token_embed", [ids])[0] for ids in PROMPTS]
    assert error(together, single) <= 1e-4


@pytest.mark.slow
def test_a_class_that_stays_causal_is_refused(make, load):
    folder, _ = make("XLNetModel", **XLNET)
    assert load(folder, hf_overrides={"is_causal": False}).model_config.architecture == "XLNetModel"
    folder, _ = make("BloomModel", n_layer=2, n_head=4)
    try:
        both = load(folder, hf_overrides={"is_causal": False})
    except CheckpointError as refused:
        assert "only attends to earlier tokens" in str(refused)  # noqa: PT017
    else:
        rows = asked(both, "token_embed", [[5, 6, 7], [5, 6, 8]])
        assert np.abs(rows[0][0] - rows[1][0]).max() > 1e-3


def test_deterministic_results_are_bit_identical_in_every_batch(make, load):
    folder, _ = make("ElectraModel")
    llm = load(folder, batch_invariant=True)
    together = asked(llm, "token_embed")
    assert all(
        np.array_equal(asked(llm, "token_embed", [ids])[0], rows) for ids, rows in zip(PROMPTS, together, strict=True)
    )


def test_bfloat16_is_near_and_heads_stay_float32(make, load):
    folder, model = make("ElectraForSequenceClassification")
    actual = asked(load(folder, dtype="bfloat16"), "classify")
    assert 0 < error(actual, alone(model)) <= 5e-2
    assert any(
        float(torch.tensor(logits).bfloat16().float().sub(torch.tensor(logits)).abs().max()) > 0 for logits in actual
    )


@pytest.mark.parametrize("lengths", [(1,), (7, 7, 7), tuple(range(1, 60)), (512, 3, 3, 3, 500, 60), LENGTHS], ids=str)
def test_padding_is_limited(lengths):
    for padding in (Padding(mixed_lengths=True), Padding(), Padding(one_by_one=True)):
        groups = group_by_length(lengths, padding)
        assert sorted(index for places in groups for index in places) == list(range(len(lengths)))
        for places in groups:
            real = sum(lengths[index] for index in places)
            wasted = max(lengths[index] for index in places) * len(places) - real
            assert wasted <= (max(0.1 * real, 64) if padding.mixed_lengths else 0)
            assert len(places) == 1 or not padding.one_by_one
    assert len(group_by_length((9,) * 40, Padding())) == 1


def test_masked_tokens_do_not_affect_others(make, load):
    folder, _ = make("ElectraModel", embedding_size=24)
    model = load(folder)._loaded.model  # noqa: SLF001  only processors of late interaction write such prompts
    ids = [torch.tensor(prompt) for prompt in prompts_of((9, 4, 9))]
    shown = [{"num_attended": 5}, {"num_attended": 4}, {}]
    with torch.inference_mode():
        actual = model(PackedBatch.pack(ids, features=shown)).split([9, 4, 9])
        expected = [
            model(PackedBatch.pack([prompt_ids[:length]])) for prompt_ids, length in zip(ids, (5, 4, 9), strict=True)
        ]
    for rows, prompt_ids in zip(actual, expected, strict=True):
        torch.testing.assert_close(rows[: len(prompt_ids)], prompt_ids, atol=1e-5, rtol=0)
