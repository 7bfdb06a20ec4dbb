"""``millpond inspect --resolved``: the model file that it prints loads the same model, to the last bit."""

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from golden_cases import GROUPS
from golden_checkpoints import routes
from golden_records import PLUGINS, TEXT, default_calls, outputs_of

from millpond import LLM, MillpondError
from millpond.loading.arguments import read_arguments
from millpond.testing.checkpoints import tiny
from millpond_cli.inspect.resolved import model_file

IN_FILE = {
    *("convert", "model_impl", "dtype", "max_model_len", "pooler_config", "hf_overrides", "io_processor_plugin"),
}
QUICK = {
    "architectures": ("BertModel", "HF_ColBERT", "RobertaForSequenceClassification"),
    "checkpoints": ("sentence-transformers", "sparse encoder", "model2vec", "PyLate"),
}


@contextmanager
def loaded(model, options):
    with LLM(str(model), plugins=PLUGINS, num_workers=1, **options) as llm:
        yield llm


def plain(value):
    """The bits of arrays and tensors, and the content of objects; without the ids of requests."""
    if hasattr(value, "numpy"):
        value = value.float().numpy()
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {str(key): plain(it) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [plain(it) for it in value]
    if not hasattr(value, "__dict__"):
        return repr(value)
    named = {it.name: getattr(value, it.name) for it in fields(value)} if is_dataclass(value) else vars(value)
    return {name: plain(it) for name, it in named.items() if name not in ("request_id", "metrics")}


def record(model, case, options):
    """The settings and the outputs of a model."""
    with loaded(model, options) as llm:
        outputs = {}
        for name, call in (case.calls or default_calls(llm)).items():
            try:
                outputs[name] = plain(outputs_of(llm, call))
            except MillpondError as error:
                outputs[name] = str(error)
        return {"settings": plain(llm.model_config), **outputs}


def difference(case, home):
    """The names of what differs; empty if the checkpoint cannot be served."""
    logging.disable(logging.WARNING)
    folder, file = home / case.folder, home / "model.toml"
    case.write(folder)
    try:
        expected = record(folder, case, case.options)
    except MillpondError:
        return []
    finally:
        logging.disable(logging.NOTSET)
    file.write_text(model_file(PLUGINS.registry, str(folder), read_arguments(case.options)))
    options = {name: value for name, value in case.options.items() if name not in IN_FILE}
    actual = record(file, case, options)
    return [name for name in expected if actual[name] != expected[name]]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, names in QUICK.items() for name in names])
def test_a_model_file_loads_the_same_model(group, name, tmp_path):
    assert difference(GROUPS[group]()[name], tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_tiny_checkpoint_is_the_same_from_its_model_file(group, tmp_path):
    differing = {}
    for number, (name, case) in enumerate(GROUPS[group]().items()):
        home = tmp_path / str(number)
        home.mkdir()
        if changed := difference(case, home):
            differing[name] = changed
    assert differing == {}


def test_overrides_of_config_json_take_precedence_with_all_that_follows(tmp_path):
    folder, file = tiny("BertForSequenceClassification", tmp_path / "model", num_labels=3), tmp_path / "model.toml"
    arguments = read_arguments({"max_model_len": 30, "hf_overrides": {"problem_type": "multi_label_classification"}})
    file.write_text(model_file(PLUGINS.registry, str(folder), arguments))
    with loaded(file, {}) as llm:
        assert llm.model_config.classification.activation == "sigmoid"
    with loaded(file, {"hf_overrides": {"problem_type": "regression", "classifier_pooling": "mean"}}) as llm:
        model = llm.model_config
        settings = (model.hf_config.problem_type, model.classification.activation, model.pooler_config.seq_pooling_type)
        assert settings == ("regression", "identity", "MEAN")
        assert (model.max_model_len, model.classification.num_labels) == (30, 3)
    with loaded(file, {"hf_overrides": {"max_sequence_length": 20}}) as llm:
        assert llm.model_config.max_model_len == 20


@pytest.mark.slow
def test_the_table_of_a_route_changes_only_that_route(tmp_path):
    folder, file = tmp_path / "model", tmp_path / "model.toml"
    routes(folder)
    file.write_text(f"[routes.query.pooler_config]\nseq_pooling_type = 'CLS'\n[model]\nname = {str(folder)!r}\n")
    vectors = []
    for model in (folder, file):
        with loaded(model, {}) as llm:
            sides = [llm.embed(TEXT, input_type=side)[0].outputs.array for side in ("query", "document")]
            vectors.append(sides)
    (query, document), (changed, same) = vectors
    assert not np.allclose(query, changed)
    np.testing.assert_array_equal(document, same)
