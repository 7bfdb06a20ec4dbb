"""Recipe: validation, JSON, fingerprint, schema."""

import pickle

import pyarrow as pa
import pytest
from pydantic import ValidationError

from millpond.loading.arguments import read_arguments
from millpond.loading.build import load_model
from millpond.testing.checkpoints import tiny
from millpond_jobs import Recipe
from millpond_recipes import model_fingerprint
from millpond_recipes.errors import RecipeError
from millpond_recipes.fingerprint import fingerprint_of


def test_a_recipe_survives_pickle_and_json(bert):
    recipe = Recipe(model=str(bert), args={"max_model_len": 32}, dimensions=8, embed_dtype="int8", id_column="id")
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert Recipe.model_validate_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": {"dtyp": "float32"}}, "Unknown option of the model 'dtyp'"),
        ({"args": {"revision": "main"}}, "'revision' is a field of the recipe"),
        ({"task": "score"}, "needs query_column"),
        ({"query_column": "q"}, "no other task has queries"),
        ({"prompt": "a", "prompt_name": "b"}, "exclude each other"),
        ({"dimensions": 0}, "greater than or equal to 1"),
        ({"embed_dtype": "float64"}, "float32"),
        ({"columns": ["a"]}, "Extra inputs are not permitted"),
    ],
)
def test_an_invalid_recipe_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(model="m", **fields)


def test_the_schema_is_known_without_loading_the_model(bert):
    before = pa.schema([("text", pa.string()), ("n", pa.int32())])
    after = Recipe(model=str(bert), embed_dtype="float16").schema(before)
    assert after.names == ["text", "n", "vector", "num_tokens", "truncated", "error"]
    assert after.field("vector").type == pa.list_(pa.float16(), 32)


def test_a_column_with_the_name_of_a_result_is_refused(bert):
    with pytest.raises(RecipeError, match="'vector', which is the name of a result"):
        Recipe(model=str(bert)).schema(pa.schema([("text", pa.string()), ("vector", pa.int32())]))


def test_a_missing_column_is_named_with_those_that_exist(bert):
    with pytest.raises(RecipeError, match=r"no column 'body'\. Available: text"):
        Recipe(model=str(bert), text_column="body").schema(pa.schema([("text", pa.string())]))


def test_the_fingerprint_changes_with_everything_that_changes_results(bert, tmp_path):
    recipe = Recipe(model=str(bert))
    same = recipe.fingerprint()
    assert recipe.fingerprint() == same
    assert Recipe(model=str(bert), id_column="id", on_error="raise").fingerprint() == same
    assert Recipe(model=str(bert), args={"max_num_seqs": 3}).fingerprint() == same
    copy = tiny("BertModel", tmp_path / "copy")
    assert Recipe(model=str(copy)).fingerprint() == same
    others = [
        Recipe(model=str(bert), dimensions=8),
        Recipe(model=str(bert), prompt="query: "),
        Recipe(model=str(bert), args={"dtype": "bfloat16"}),
        Recipe(model=str(bert), args={"max_model_len": 16}),
        Recipe(model=str(tiny("BertModel", tmp_path / "other", seed=7))),
    ]
    hashes = {other.fingerprint() for other in others}
    assert len(hashes) == len(others)
    assert same not in hashes
    (copy / "tokenizer_config.json").write_text((copy / "tokenizer_config.json").read_text() + " ")
    assert Recipe(model=str(copy)).fingerprint() != same


def test_the_fingerprint_contains_settings_of_published_models(bert, tmp_path):
    """A model in a folder with the name of a published one has its prompts, templates and dimensions."""
    names = ("bge-base-en-v1.5", "snowflake-arctic-embed-m-v1.5")
    without, with_settings = (Recipe(model=str(tiny("BertModel", tmp_path / name))).fingerprint() for name in names)
    assert without == Recipe(model=str(bert)).fingerprint()
    assert with_settings != without


def test_the_settings_of_a_model_file_are_part_of_fingerprints(bert, tmp_path):
    file, prints = tmp_path / "model.toml", []
    for value in ("true", "false", "true"):
        file.write_text(f"[text]\nlower_case = {value}\n[model]\nname = {str(bert)!r}\n")
        of_loaded = model_fingerprint.fingerprint_of(load_model(str(file), read_arguments({})))
        prints.append((fingerprint_of(Recipe(model=str(file))), of_loaded))
    (recipe, model), (other_recipe, other_model), third = prints
    assert third == (recipe, model)
    assert recipe != other_recipe
    assert model != other_model
