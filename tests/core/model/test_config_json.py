"""config.json: damaged, missing, and its architectures."""

import numpy as np
import pytest

from millpond import LLM, CheckpointError, UnknownNameError
from millpond.testing.checkpoints import tiny


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"config\.json is not valid JSON: .* may be truncated"),
        (b'{"architectures": ["Bert', r"config\.json is not valid JSON"),
        (b"\xff\xfe{}", r"config\.json is not valid JSON: 'utf-8' codec"),
        (b"\x80\x04pickle", r"config\.json is not valid JSON"),
        (b"[]", r"config\.json must contain a JSON object; it contains list"),
        (b"null", r"config\.json must contain a JSON object; it contains NoneType"),
        (b'{"a":' * 100_000, r"config\.json is not valid JSON"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, r"config\.json is nested too deeply"),
        (b"{}", r"config\.json needs a list 'architectures'"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_damaged_config_is_named(checkpoint, text, message):
    (checkpoint / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=message):
        LLM(str(checkpoint))


def test_the_error_for_a_folder_without_config_lists_its_files(checkpoint):
    (checkpoint / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no config\.json.* it contains: model\.safetensors, tokenizer\.json, tok"
    ):
        LLM(str(checkpoint))


def test_the_error_for_a_folder_with_many_files_lists_the_first_ones(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.txt").touch()
    with pytest.raises(CheckpointError, match=r"it contains: 00\.txt, 01\.txt, .*, 19\.txt and 10 more$"):
        LLM(str(tmp_path))


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"])
@pytest.mark.parametrize("value", ["64", {}, 2.5])
def test_the_error_names_a_size_that_is_not_an_integer(checkpoint, change, key, value):
    change(checkpoint, **{key: value})
    with pytest.raises(CheckpointError, match=rf"config\.json specifies {key}="):
        LLM(str(checkpoint))


@pytest.mark.parametrize("names", [None, [], "BertModel", {}, 5, [None], [["BertModel"]]], ids=repr)
def test_a_config_without_architectures_lists_the_known_ones(checkpoint, names, change):
    change(checkpoint, architectures=names, model_type=None)
    with pytest.raises(
        CheckpointError, match=r"needs a list 'architectures'.*hf_overrides=\{'arch.* Available: .*BertModel, "
    ):
        LLM(str(checkpoint))


@pytest.mark.slow
def test_the_error_for_an_unknown_architecture_lists_the_known_ones_and_the_fix(
    checkpoint, load, expected, vector, change
):
    change(checkpoint, architectures=["MillModel", "PondModel"])
    with pytest.raises(UnknownNameError) as caught:
        LLM(str(checkpoint))
    message = str(caught.value)
    assert message.startswith("Unknown architecture 'MillModel' or 'PondModel'. Available: Bert")
    assert "register_architectures" in message
    assert "`millpond plugins list`" in message
    assert "hf_overrides={'architectures': [...]}" in message
    assert np.array_equal(vector(load(checkpoint, hf_overrides={"architectures": ["BertModel"]})), expected)


def test_the_first_known_architecture_is_used(checkpoint, load, change):
    change(checkpoint, architectures=["MillModel", "BertModel"])
    assert load(checkpoint).model_config.architecture == "BertModel"


@pytest.mark.parametrize("names", [None, []], ids=repr)
@pytest.mark.parametrize(
    "architecture",
    ["BertModel", "XLMRobertaModel", "DebertaV2Model", "NomicBertModel", "Gemma3TextModel", "JinaEmbeddingsV3Model"],
)
def test_a_config_without_architectures_means_the_family_of_its_model_type(tmp_path, change, architecture, names):
    folder = tiny(architecture, tmp_path / "model")
    with LLM(str(folder), num_workers=1) as llm:
        expected = llm.embed("the cat", use_tqdm=False)[0].outputs.array
    change(folder, architectures=names)
    with LLM(str(folder), num_workers=1) as llm:
        assert llm.model_config.architecture == architecture
        np.testing.assert_array_equal(llm.embed("the cat", use_tqdm=False)[0].outputs.array, expected)


def test_a_model_type_that_no_family_has_is_not_guessed(checkpoint, change):
    change(checkpoint, architectures=None, model_type="ber")
    with pytest.raises(CheckpointError, match="needs a list 'architectures'"):
        LLM(str(checkpoint))
