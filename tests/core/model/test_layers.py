"""Layers: the first that states a path wins, keys of mappings are merged, and origins are found by path."""

import pytest

from millpond.model.layers import Layer, Layers, checked, paths

USER = Layer("user", {"embedding.truncate_dim": None, "pooler_config.use_activation": False}, is_request=True)
SETTINGS = Layer(
    "settings.json",
    {"embedding.truncate_dim": 8, "pooler_config.use_activation": True, "prompting.prompts": {"query": "find: "}},
    {"embedding.truncate_dim": "truncate_dim"},
)
PUBLISHED = Layer("published model", {"embedding.truncate_dim": 9, "prompting.prompts": {"query": "", "passage": "p"}})
LAYERS = Layers((USER, SETTINGS, PUBLISHED))


def test_the_first_layer_with_a_value_decides():
    assert LAYERS.get("embedding.truncate_dim") == 8
    assert LAYERS.get("pooler_config.use_activation") is False
    assert LAYERS.get("embedding.similarity", "cosine") == "cosine"
    assert LAYERS.find("embedding.similarity") is None


def test_the_keys_of_a_mapping_come_from_several_layers():
    assert LAYERS.merged("prompting.prompts") == {"query": "find: ", "passage": "p"}
    assert LAYERS.origin("prompting.prompts", "passage") == "published model"
    assert LAYERS.origin("prompting.prompts", "query") == "settings.json"


def test_an_origin_is_the_file_and_its_key():
    assert LAYERS.origin("embedding.truncate_dim") == "settings.json (truncate_dim)"
    assert LAYERS.origin("pooler_config.use_activation") == "user"
    assert LAYERS.origin("embedding.similarity") == "default"


def test_every_path_of_the_schema_has_a_check():
    assert {"dtype", "files.task", "pooler_config.dimensions", "retrieval.late_interaction"} <= set(paths())
    assert checked([SETTINGS, PUBLISHED]) == (SETTINGS, PUBLISHED)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("embeddings.similarity", "dot", r"unknown path .* did you mean 'embedding\.similarity'\?"),
        ("zzz", 1, r"unknown path 'zzz' in a\.json; available: files\.folder, "),
        (
            "embedding.similarity",
            "cos",
            r"similarity stated as 'cos' in a\.json: input should be 'cosine', ",
        ),
        ("max_model_len", "8", r"max_model_len stated as '8' in a\.json: input should be a valid integer"),
        ("pooler_config.dimensions", 0, r"input should be greater than or equal to 1"),
    ],
)
def test_an_invalid_value_names_its_file(path, value, message):
    with pytest.raises(ValueError, match=message):
        checked([Layer("a.json", {path: value})])
