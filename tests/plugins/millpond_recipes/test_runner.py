"""Runner: each task's columns equal what LLM returns; rows keep their order, and failed ones are null."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from documents_task import RECORDS
from weight_files import replace_weights

from millpond import LLM, register
from millpond.plugin import manager as plugins
from millpond.testing.checkpoints import tiny, write_sparse_encoder
from millpond.testing.pictures import picture
from millpond.types.errors import CheckpointError
from millpond_jobs import Recipe
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_recipes import model_facts
from millpond_recipes.errors import RecipeError
from millpond_recipes.runner import Runner

TEXTS = ["the cat sat", "a", "on the mat the cat sat on the mat", "", "cat " * 200, "mat"]


@pytest.fixture
def compute():
    """Run a recipe for columns; return the result."""

    def run(recipe, **columns):
        with recipe.open() as runner:
            return runner(pa.table(columns))

    return run


def direct(model, method, *arguments, **options):
    with LLM(str(model), batch_invariant=True, num_workers=1) as llm:
        return getattr(llm, method)(*arguments, use_tqdm=False, **options)


def vectors(table, name="vector"):
    return np.array(table.column(name).to_pylist(), np.float32)


def test_embed_equals_llm_bit_by_bit(bert, compute):
    results = compute(Recipe(model=str(bert), on_overflow="truncate"), text=TEXTS, n=range(len(TEXTS)))
    outputs = direct(bert, "embed", TEXTS, on_overflow="truncate")
    assert results.column_names == ["text", "n", "vector", "num_tokens", "truncated", "error"]
    assert results.column("n").to_pylist() == list(range(len(TEXTS)))
    assert np.array_equal(vectors(results), np.stack([output.outputs.array for output in outputs]))
    assert results.column("num_tokens").to_pylist() == [output.num_prompt_tokens for output in outputs]
    assert results.column("truncated").to_pylist() == [False, False, False, False, True, False]
    assert results.column("error").null_count == len(TEXTS)


def test_dimensions_and_prompt_are_those_of_llm(bert, compute):
    recipe = Recipe(model=str(bert), dimensions=8, prompt="the mat ", args={"hf_overrides": {"is_matryoshka": True}})
    results = compute(recipe, text=TEXTS[:3])
    with LLM(str(bert), batch_invariant=True, hf_overrides={"is_matryoshka": True}) as llm:
        outputs = llm.embed(TEXTS[:3], dimensions=8, prompt="the mat ", use_tqdm=False)
    assert np.array_equal(vectors(results), np.stack([output.outputs.array for output in outputs]))


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "binary", "ubinary"])
def test_vectors_are_stored_in_smaller_types(bert, compute, dtype):
    results = compute(Recipe(model=str(bert), embed_dtype=dtype), text=TEXTS[:4]).column("vector")
    exact = np.stack([output.outputs.array for output in direct(bert, "embed", TEXTS[:4])])
    stored = np.array(results.to_pylist())
    if dtype == "float16":
        assert np.array_equal(stored.astype(np.float16), exact.astype(np.float16))
    elif dtype in {"int8", "uint8"}:
        offset = 0 if dtype == "int8" else 127
        assert np.abs((stored - offset) / 127 - exact).max() <= 0.5 / 127 + 1e-7
    else:
        unsigned = (stored + (128 if dtype == "binary" else 0)).astype(np.uint8)
        assert np.array_equal(np.unpackbits(unsigned, axis=1), (exact >= 0).astype(np.uint8))


def test_bits_need_a_multiple_of_eight_dimensions(bert):
    recipe = Recipe(model=str(bert), embed_dtype="ubinary", dimensions=12)
    with pytest.raises(RecipeError, match="multiple of 8"):
        recipe.schema(pa.schema([("text", pa.string())]))


def test_token_vectors_are_lists(bert, compute):
    results = compute(Recipe(model=str(bert), task="token_embed"), text=TEXTS[:3]).column("vectors")
    outputs = direct(bert, "encode", TEXTS[:3], pooling_task="token_embed")
    for row, output in zip(results.to_pylist(), outputs, strict=True):
        assert np.array_equal(np.array(row, np.float32), output.outputs.array)


def test_sparse_weights_are_indices_and_values(tmp_path, compute):
    model = tiny("BertForMaskedLM", tmp_path / "splade")
    write_sparse_encoder(model)
    results = compute(Recipe(model=str(model), task="embed_sparse"), text=TEXTS[:3]).column("weights").to_pylist()
    for row, output in zip(results, direct(model, "embed_sparse", TEXTS[:3]), strict=True):
        assert row["indices"] == output.outputs.indices.tolist()
        assert np.array_equal(np.array(row["values"], np.float32), output.outputs.values)


def test_classes_have_the_best_label_and_all_probabilities(tmp_path, compute):
    model = tiny("BertForSequenceClassification", tmp_path / "classes", num_labels=3)
    results = compute(Recipe(model=str(model), task="classify"), text=TEXTS[:3])
    outputs = direct(model, "classify", TEXTS[:3])
    exact = np.stack([output.outputs.array for output in outputs])
    assert np.array_equal(vectors(results, "probs"), exact)
    assert results.column("label").to_pylist() == [f"LABEL_{number}" for number in exact.argmax(1)]


def test_classes_of_tokens_are_lists(tmp_path, compute):
    model = tiny("BertForTokenClassification", tmp_path / "tokens", num_labels=3)
    results = compute(Recipe(model=str(model), task="token_classify"), text=TEXTS[:3]).column("probs")
    outputs = direct(model, "encode", TEXTS[:3], pooling_task="token_classify")
    for row, output in zip(results.to_pylist(), outputs, strict=True):
        assert np.array_equal(np.array(row, np.float32), output.outputs.array)


def test_messages_of_a_column_may_have_different_fields(tmp_path, compute):
    model = tiny("Qwen3Model", tmp_path / "chat")
    name = "{% if m.name is defined %} {{ m.name }}{% endif %}"
    template = "{% for m in messages %}{{ m.role }}NAME: {{ m.content }}\n{% endfor %}".replace("NAME", name)
    (model / "chat_template.jinja").write_text(template)
    conversations = [
        [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat", "name": "mat"}],
        [{"role": "user", "content": "on"}],
    ]
    results = compute(Recipe(model=str(model)), text=conversations)
    assert pa.types.is_struct(results.schema.field("text").type.value_type)
    outputs = direct(model, "embed", [{"messages": conversation} for conversation in conversations])
    assert np.array_equal(vectors(results), np.stack([output.outputs.array for output in outputs]))


@pytest.mark.parametrize(
    ("task", "architecture", "column"),
    [
        ("token_embed", "BertModel", "vectors"),
        ("classify", "BertForSequenceClassification", "probs"),
        ("token_classify", "BertForTokenClassification", "probs"),
        ("entities", "BertForTokenClassification", "entities"),
        ("embed_sparse", "BertForMaskedLM", "weights"),
    ],
)
def test_a_failed_row_is_null_in_each_task(tmp_path, compute, task, architecture, column):
    model = tiny(architecture, tmp_path / "model", **({} if "Model" in architecture else {"num_labels": 3}))
    if task == "embed_sparse":
        write_sparse_encoder(model)
    recipe = Recipe(model=str(model), task=task)
    results = compute(recipe, text=[None, "the cat", None])
    assert [row is None for row in results.column(column).to_pylist()] == [True, False, True]
    assert results.column("error")[2].as_py() == "the column 'text' is null"
    assert results.column(column)[1] == compute(recipe, text=["the cat"]).column(column)[0]


def test_scores_read_two_columns(tmp_path, compute):
    model = tiny("BertForSequenceClassification", tmp_path / "scores", num_labels=1)
    recipe = Recipe(model=str(model), task="score", query_column="question", text_column="answer")
    results = compute(recipe, question=["a cat", None, "mat"], answer=["the cat sat", "a", "on the mat"])
    outputs = direct(model, "score", ["a cat", "mat"], ["the cat sat", "on the mat"])
    scores = results.column("score").to_pylist()
    assert [scores[0], scores[2]] == [output.outputs.score for output in outputs]
    assert scores[1] is None
    assert results.column("error")[1].as_py() == "the column 'question' is null"


def test_entities_are_lists_of_spans(tmp_path, compute):
    model = tiny("BertForTokenClassification", tmp_path / "entities", num_labels=3)
    results = compute(Recipe(model=str(model), task="entities"), text=TEXTS[:3]).column("entities").to_pylist()
    with LLM(str(model), batch_invariant=True) as llm:
        outputs = llm.encode(TEXTS[:3], pooling_task="entities", use_tqdm=False)
    expected = [[(it.label, it.start, it.end, it.text) for it in output.outputs] for output in outputs]
    assert [[(it["label"], it["start"], it["end"], it["text"]) for it in row] for row in results] == expected
    assert any(expected)


def test_images_are_read_by_path_and_as_bytes(tmp_path, compute):
    model = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture(40, 30, number).save(path)
    recipe = Recipe(model=str(model), image_column="image")
    by_path = compute(recipe, image=[str(path) for path in paths])
    assert np.array_equal(vectors(by_path), vectors(compute(recipe, image=[path.read_bytes() for path in paths])))
    outputs = direct(model, "embed", [{"multi_modal_data": {"image": path}} for path in paths])
    assert np.array_equal(vectors(by_path), np.stack([output.outputs.array for output in outputs]))
    missing = compute(recipe, image=[str(paths[0]), str(tmp_path / "missing.png")])
    assert missing.column("vector")[1].as_py() is None
    assert "missing.png" in missing.column("error")[1].as_py()


def test_a_failed_row_is_null_and_leaves_the_others(bert, compute):
    results = compute(Recipe(model=str(bert), on_overflow="error"), text=["the cat", None, "cat " * 200, "mat"])
    assert [row is None for row in results.column("vector").to_pylist()] == [False, True, True, False]
    errors = results.column("error").to_pylist()
    assert errors[1] == "the column 'text' is null"
    assert "maximum" in errors[2]
    assert "prompt 1" not in errors[2]


def test_a_failed_row_stops_a_recipe_that_raises(bert, compute):
    with pytest.raises(RecipeError, match=r"row 1: the column 'text' is null"):
        compute(Recipe(model=str(bert), on_error="raise"), text=["the cat", None])


def test_a_task_that_the_model_does_not_serve_is_refused(bert):
    with pytest.raises(RecipeError, match=r"does not serve the task 'classify'. Available: .*embed"):
        Recipe(model=str(bert), task="classify").open()


def test_results_do_not_depend_on_the_table(bert, compute):
    recipe = Recipe(model=str(bert))
    alone = [compute(recipe, text=[text]).column("vector")[0].as_py() for text in TEXTS[:3]]
    assert compute(recipe, text=TEXTS[:3]).column("vector").to_pylist() == alone


def test_a_plugin_of_this_process_alone_is_refused(bert, plugin_manager, monkeypatch):
    monkeypatch.setattr(model_facts, "get_plugin_manager", lambda: plugin_manager)
    plugin_manager.register(plugin_manager.registry.architectures.find("BertModel").spec, plugin="mine")
    with pytest.raises(RecipeError, match=r"mine.* registered at run time and does not exist in other processes"):
        Recipe(model=str(bert)).open()


def test_a_model_that_changes_after_its_facts_were_read_is_refused(tmp_path):
    """A job whose fingerprint is that of other weights would mix two models when it is resumed."""
    folder = tiny("BertModel", tmp_path)
    recipe = Recipe(model=str(folder))
    facts = model_facts.read_model_facts(recipe)
    replace_weights(folder)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has changed since"):
        Runner(recipe, facts)


def test_runs_that_overlap_leave_the_log_of_other_calls_as_it_was(bert, monkeypatch, caplog):
    recipe, rows = Recipe(model=str(bert), on_overflow="truncate"), pa.table({"text": [TEXTS[4]]})
    events = {name: threading.Event() for name in ("first_started", "both_started", "first_ended")}

    def encode_between(runner, started, ended):
        encode = runner.llm.encode

        def waiting(*arguments, **options):
            events[started].set()
            assert events[ended].wait(60)
            return encode(*arguments, **options)

        monkeypatch.setattr(runner.llm, "encode", waiting)

    with recipe.open() as first, recipe.open() as second, ThreadPoolExecutor(2) as threads:
        encode_between(first, "first_started", "both_started")
        encode_between(second, "both_started", "first_ended")
        earlier = threads.submit(first, rows)
        assert events["first_started"].wait(60)
        later = threads.submit(second, rows)
        earlier.result(60)
        events["first_ended"].set()
        assert later.result(60).column("truncated").to_pylist() == [True]
        assert caplog.records == []
        first.llm.embed(TEXTS[4], on_overflow="truncate", use_tqdm=False)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.fixture
def sketches(tmp_path, monkeypatch):
    """A model in a process with a plugin whose task reads objects."""
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    for record in RECORDS:
        register(record)
    return str(tiny("BertModel", tmp_path / "model"))


def test_rows_of_a_task_that_reads_objects_are_objects(compute, sketches):
    items = [{"text": TEXTS[0], "weight": 2.0}, {"text": "a", "weight": None}, {"text": "a", "weight": -1.0}, None]
    table = compute(Recipe(model=sketches, task="sketch", text_column="item"), item=items)
    first, second = map(json.loads, table["data"].to_pylist()[:2])
    (expected,) = direct(sketches, "embed", f" {TEXTS[0]}")
    np.testing.assert_allclose(first["first"], expected.outputs.array[:4], atol=1e-6)
    assert (first["weight"], second["weight"]) == (2.0, 1.0)  # a null is a field that is not set
    assert table["error"].to_pylist() == [
        None,
        None,
        "prompts: weight=-1.0: Input should be greater than 0",
        "the column 'item' is null",
    ]


def test_objects_are_refused_for_a_task_of_texts(compute, sketches):
    with pytest.raises(RecipeError, match=r"the column 'text' contains struct.*expected texts, or lists of messages"):
        compute(Recipe(model=sketches), text=[{"prompt": "a"}])
    with pytest.raises(RecipeError, match="the column 'text' contains string; expected objects"):
        compute(Recipe(model=sketches, task="sketch"), text=TEXTS)
