"""The space of embeddings: what changes its id, and the differences in words."""

import json

import pytest
from inspect_kit import inspect
from pooling_files_kit import change

from millpond import LLM, InvalidInputError
from millpond.testing.checkpoints import tiny, write_sentence_transformers
from millpond.types.errors import SpaceMismatchError
from millpond_checkpoints import file_hashes
from millpond_checkpoints.space import Space

PROMPTS = "config_sentence_transformers.json"


@pytest.fixture
def space(checkpoint):
    """Return the space of the checkpoint, loaded with options."""

    def space(**options):
        with LLM(str(checkpoint), num_workers=1, **options) as llm:
            return llm.space

    return space


def difference(here, there):
    with pytest.raises(SpaceMismatchError) as raised:
        here.require(there.descriptor)
    return str(raised.value).partition("was expected: ")[2]


def set_prompts(folder, **prompts):
    (folder / PROMPTS).write_text(json.dumps({"prompts": prompts}))


def test_dtype_kernels_and_batches_keep_the_space(space):
    expected = space()
    assert len(expected.id) == 16
    assert space(dtype="bfloat16").id == space(quantization="int8").id == expected.id
    assert space(max_num_seqs=3, max_model_len=16).id == expected.id


def test_a_copy_of_the_files_has_the_same_space(checkpoint, tmp_path, space):
    with LLM(str(tiny("BertModel", tmp_path / "copy")), num_workers=1) as copy:
        assert copy.space_id == space().id


def test_a_file_of_resolved_settings_has_the_space_of_its_model(checkpoint, tmp_path, space):
    write_sentence_transformers(checkpoint, prompts={"query": "query: "})
    (tmp_path / "model.toml").write_text(inspect(checkpoint, "--resolved").stdout)
    with LLM(str(tmp_path / "model.toml"), num_workers=1) as llm:
        assert llm.space_id == space().id


def test_a_readme_or_a_label_keeps_the_space(checkpoint, space):
    expected = space()
    (checkpoint / "README.md").write_text("# A mill")
    change(checkpoint / "config.json", id2label={"0": "calm"}, transformers_version="9")
    assert space().id == expected.id


def test_the_difference_of_a_prompt_is_in_words(checkpoint, space):
    there = space()
    set_prompts(checkpoint, query="query: ", clustering="topic: ")
    assert difference(space(), there) == "the query prompt differs: 'query: ' here, '' there"


def test_pooling_normalization_and_dimensions_change_the_space(space):
    there = space()
    assert "the pooling type of embed differs: 'MEAN' here, 'CLS' there" in difference(
        space(pooler_config={"pooling_type": "MEAN"}), there
    )
    unnormalized = space(pooler_config={"use_activation": False})
    assert difference(unnormalized, there) == "the normalization differs: False here, True there"
    assert difference(space(pooler_config={"dimensions": 8}), there) == (
        "the number of dimensions differs: 8 here, 32 there"
    )


def test_one_changed_weight_changes_the_space(checkpoint, space):
    there = space()
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert difference(space(), there) == "the content of the file model.safetensors differs"


def test_a_tokenizer_and_a_setting_of_the_config_change_the_space(checkpoint, space):
    there = space()
    tokenizer = checkpoint / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    change(checkpoint / "config.json", layer_norm_eps=1e-5)
    assert difference(space(), there) == (
        "the value of layer_norm_eps (config.json) differs: 1e-05 here, 1e-12 there; "
        "the content of the file tokenizer.json differs"
    )


def test_a_pickle_that_is_not_read_keeps_the_space(checkpoint, space):
    expected = space()
    (checkpoint / "pytorch_model.bin").write_bytes(b"unread")
    (checkpoint / "vocab.txt").write_text("unread")
    (checkpoint / "optimizer.pt").write_bytes(b"unread")
    assert space().id == expected.id


def test_weights_are_hashed_once_per_state_of_the_files(space, monkeypatch):
    hashed = []
    monkeypatch.setattr(file_hashes, "file_hash", lambda path: hashed.append(path.name) or "0")
    assert space().id == space().id
    assert hashed.count("model.safetensors") == 1


def test_the_space_of_a_call_has_its_dimensions(tiny_bert):
    space = tiny_bert.space
    assert space.of_call(dimensions=32, normalized=True) is space
    assert space.of_call(dimensions=None) is space
    assert space.of_call(dimensions=8) is space.of_call(dimensions=8)  # its id is computed once
    assert difference(space.of_call(dimensions=8), space) == "the number of dimensions differs: 8 here, 32 there"


def test_an_id_or_a_descriptor_may_be_expected(tiny_bert):
    space = tiny_bert.space
    for expected in (space.id, space.descriptor, json.dumps({"space": space.descriptor})):
        space.require(expected)
    with pytest.raises(SpaceMismatchError, match=f"have the space {space.id}; 0123456789abcdef was expected. Pass the"):
        space.require("0123456789abcdef")


@pytest.mark.parametrize("expected", ["", "{", {}, 3, {"space_id": 1, "settings": {}}])
def test_another_value_than_an_id_or_a_descriptor_is_refused(expected):
    with pytest.raises(InvalidInputError, match="neither an id nor a descriptor"):
        Space({}).require(expected)


def test_many_differences_are_counted():
    here, there = Space({f"setting {number}": 0 for number in range(12)}), Space({})
    assert difference(here, there).endswith("4 other differences")
