"""RobertaModel and related models: equal to transformers, with positions that start after the padding ID."""

import json

import numpy as np
import pytest
import torch
from model_kit import max_difference

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary

VOCABULARY = len(vocabulary("roberta"))
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
NAMES = ("RobertaModel", "XLMRobertaModel", "CamembertModel")


def prompts_of(lengths, seed=0, first=5):
    random = np.random.default_rng(seed)
    return [random.integers(first, VOCABULARY, size=length).tolist() for length in lengths]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, load, hidden, reference, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    actual = hidden(llm, prompts)
    assert max_difference(actual, reference(folder, prompts)) <= 1e-5
    assert max_difference([hidden(llm, prompt)[0] for prompt in prompts], actual) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_transformers(tmp_path, load, hidden, reference, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of(LENGTHS)
    exact = reference(folder, prompts)
    scale = max(float(np.abs(rows).max()) for rows in exact)
    actual = hidden(load(folder, dtype="bfloat16"), prompts)
    assert 0 < max_difference(actual, exact) / scale <= 2e-2
    assert max_difference(actual, reference(folder, prompts, dtype=torch.bfloat16)) / scale <= 2e-2


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_the_maximum_length_excludes_positions_up_to_the_padding_id(tmp_path, load, hidden, reference, pad):
    folder = tiny("RobertaModel", tmp_path, pad_token_id=pad)
    longest = 66 - pad - 1
    llm = load(folder)
    assert llm.model_config.max_model_len == min(longest, 64)  # from tokenizer_config.json
    (folder / "tokenizer_config.json").unlink()
    llm = load(folder)
    assert llm.model_config.max_model_len == longest
    prompts = prompts_of((longest, 3, longest))
    assert max_difference(hidden(llm, prompts), reference(folder, prompts)) <= 1e-5
    with pytest.raises(InvalidInputError, match=f"maximum context length is {longest} tokens"):
        hidden(llm, prompts_of([longest + 1]))
    with pytest.raises(InvalidInputError, match=f"max_model_len={longest + 1} exceeds the {longest} position"):
        load(folder, max_model_len=longest + 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pad", [1, 4])
def test_padding_inside_a_text_has_its_own_position_and_is_not_counted(tmp_path, load, hidden, reference, name, pad):
    """As in transformers, a text may contain the padding token."""
    folder = tiny(name, tmp_path, pad_token_id=pad)
    prompts = [[5, 6, pad, 7, 8, pad, pad, 9], [pad, 5, 6], [5, 6, pad], [pad], [5, 6, 7], [pad, pad, 8]]
    llm, expected = load(folder), reference(folder, prompts)
    assert max_difference(hidden(llm, prompts), expected) <= 1e-5
    assert max_difference([hidden(llm, prompt)[0] for prompt in prompts], expected) <= 1e-5


@pytest.mark.parametrize("pad", ["absent", None])
def test_the_default_padding_id_is_that_of_roberta(tmp_path, load, hidden, pad):
    """The length limit and the model must use the same default, else the longest prompt exceeds the positions."""
    folder = tiny("RobertaModel", tmp_path)
    prompts = prompts_of((64, 1))
    expected = hidden(load(folder), prompts)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["pad_token_id"]
    path.write_text(json.dumps(config if pad == "absent" else config | {"pad_token_id": pad}))
    (folder / "tokenizer_config.json").unlink()
    llm = load(folder)
    assert llm.model_config.max_model_len == 64
    assert max_difference(hidden(llm, prompts), expected) == 0


@pytest.mark.parametrize("prefix", ["roberta.", "model."])
def test_a_prefix_before_every_name_changes_nothing(tmp_path, load, hidden, prefix):
    prompts = prompts_of((2, 17))
    plain, prefixed = tiny("RobertaModel", tmp_path / "a"), tiny("RobertaModel", tmp_path / "b", prefix=prefix)
    assert max_difference(hidden(load(prefixed), prompts), hidden(load(plain), prompts)) == 0


def test_positions_differ_from_those_of_bert(tmp_path, load, hidden):
    folder = tiny("RobertaModel", tmp_path)
    prompt = prompts_of([9])
    as_roberta = hidden(load(folder), prompt)
    as_bert = hidden(load(folder, hf_overrides={"architectures": ["BertModel"]}), prompt)
    assert max_difference(as_roberta, as_bert) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, transformers, name):
    torch.manual_seed(4)
    model_class = getattr(transformers, name)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = model_class.config_class(vocab_size=50, max_position_embeddings=40, type_vocab_size=1, **settings)
    model = model_class(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    llm = load(tmp_path)
    assert llm.model_config.max_model_len == 38
    prompt = list(range(10, 48))
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).last_hidden_state[0].numpy()
    bare = PoolingParams(use_activation=False)
    (output,) = llm.encode(prompt, bare, pooling_task="token_embed")
    assert np.abs(output.outputs.array - expected).max() <= 1e-5


def test_the_encoder_of_a_masked_language_model_is_loaded_on_request(tmp_path, load, hidden, transformers):
    torch.manual_seed(5)
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.RobertaConfig(vocab_size=50, max_position_embeddings=40, type_vocab_size=1, **settings)
    model = transformers.RobertaForMaskedLM(config).eval()
    model.save_pretrained(tmp_path)
    llm = load(tmp_path, hf_overrides={"architectures": ["RobertaModel"]})
    with torch.inference_mode():
        expected = model.roberta(torch.tensor([[7, 8, 9]])).last_hidden_state[0].numpy()
    assert np.abs(hidden(llm, [7, 8, 9])[0] - expected).max() <= 1e-5


@pytest.mark.parametrize("family", ["Roberta", "XLMRoberta", "Bert"])
def test_a_masked_language_model_embeds_by_its_first_token(tmp_path, load, hidden, transformers, family):
    """The masked language modelling head is ignored by default."""
    folder = tiny(f"{family}ForMaskedLM", tmp_path)
    model = getattr(transformers, f"{family}ForMaskedLM").from_pretrained(folder).eval()
    prompts = prompts_of((1, 5, 64, 20))
    with torch.inference_mode():
        states = [model.base_model(torch.tensor([prompt])).last_hidden_state[0] for prompt in prompts]
    llm = load(folder)
    assert llm.model_config.tasks[:2] == ("embed", "token_embed")
    assert llm.model_config.max_model_len == 64
    assert max_difference(hidden(llm, prompts), [rows.numpy() for rows in states]) <= 1e-5
    first = [torch.nn.functional.normalize(rows[0], dim=0).numpy() for rows in states]
    assert max_difference([output.outputs.array for output in llm.embed(prompts)], first) <= 1e-5
