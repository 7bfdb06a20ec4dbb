"""The settings `cache` and `cache_size`: schemes, paths, sizes, and errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millpond import LLM
from millpond.pipeline.cache import read_cache_setting
from millpond.types.errors import ComponentError, InvalidInputError
from millpond_cache.setting import parse_size


def chosen(plugin_manager, cache, size=None):
    choice = read_cache_setting(plugin_manager.registry, cache, size)
    return choice.entry.spec.name, choice.address, choice.max_bytes


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ("memory", ("memory", "")),
        ("memory:512MB", ("memory", "512MB")),
        ("disk:a/b", ("disk", "a/b")),
        ("vectors", ("disk", "vectors")),
        ("./memory", ("disk", "./memory")),
        ("./odd:name", ("disk", "./odd:name")),
        (Path("/tmp/memory"), ("disk", "/tmp/memory")),
        ("C:\\vectors", ("disk", "C:\\vectors")),
        ("cache/memory", ("disk", "cache/memory")),
    ],
)
def test_a_setting_is_a_scheme_or_a_path(plugin_manager, cache, expected):
    assert chosen(plugin_manager, cache) == (*expected, None)


def test_no_setting_is_no_cache(plugin_manager):
    assert read_cache_setting(plugin_manager.registry, None, None) is None
    with pytest.raises(InvalidInputError, match="cache_size has no effect without cache"):
        read_cache_setting(plugin_manager.registry, None, "1GB")


def test_an_unknown_scheme_is_not_a_folder(plugin_manager):
    message = r"Unknown cache 'memroy'\. Did you mean 'memory'\? Available: disk, memory\."
    with pytest.raises(InvalidInputError, match=message):
        chosen(plugin_manager, "memroy:512MB")


@pytest.mark.parametrize(
    ("size", "expected"),
    [("10GB", 10**10), ("1 GiB", 2**30), ("1.5kb", 1500), ("12", 12), (4096, 4096), (" 2 TB ", 2 * 10**12)],
)
def test_a_size_has_a_unit_or_is_in_bytes(size, expected):
    assert parse_size(size, "cache_size") == expected


@pytest.mark.parametrize("size", ["", "GB", "-1", 0, True, 1.5, "1XB", "1e3"])
def test_an_invalid_size_is_refused(size):
    with pytest.raises(InvalidInputError, match="is not a size"):
        parse_size(size, "cache_size")


def test_an_error_of_the_setting_precedes_loading(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="Unknown cache"):
        LLM(str(tmp_path), cache="nowhere:1")


def test_a_cache_of_a_plugin_that_fails_to_open_is_named(plugin_manager, tiny_bert):
    from millpond_cache.kinds import CacheSpec

    def refuse(options):
        raise ConnectionError(options.address)

    plugin_manager.register(CacheSpec(name="remote", target=refuse))
    with pytest.raises(ComponentError, match=r"cache 'remote' of plugin .* failed to open: ConnectionError: host:1"):
        LLM(tiny_bert.model_config.identity.path, plugins=plugin_manager, cache="remote:host:1")


@pytest.mark.slow
def test_an_error_names_the_plugin_of_caches_if_it_is_disabled(tmp_path):
    code = f"from millpond import LLM; LLM({str(tmp_path)!r}, cache='memory')"
    (tmp_path / "config.json").write_text("{}")
    environment = {**os.environ, "MILLPOND_DISABLE_PLUGINS": "caches"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "UnknownNameError: Unknown kind 'cache'" in done.stderr
    assert done.stderr.rstrip().endswith("Not loaded: caches (disabled)")
