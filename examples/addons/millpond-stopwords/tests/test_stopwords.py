"""Tests of the pooling type, and of lists of stop words from a different package."""

import re

import numpy as np
import pytest
from millpond_stopwords.english import WORDS
from millpond_stopwords.kinds import StopwordListSpec

from millpond import LLM, PoolingParams, UnknownNameError
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import PoolerConformance
from millpond.testing.records import record_faults

PLUGIN = """
from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_stopwords.kinds import StopwordListSpec


@hookimpl
def register_stopword_lists() -> Iterator[StopwordListSpec]:
    yield StopwordListSpec(name="german", target="millpond_german:WORDS", summary="stop words of German")
    yield StopwordListSpec(name="english", target="millpond_german:WRONG", summary="other words of English")
"""
WORDS_OF_OTHERS = 'WORDS = frozenset({"der", "die", "und"})\nWRONG = frozenset({"The"})\n'


@pytest.fixture
def german(tmp_path, monkeypatch):
    """Install a package of a different author with two lists."""
    metadata = tmp_path / "millpond_german-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: millpond-german\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[millpond]\ngerman = millpond_german_plugin\n", encoding="utf-8")
    (tmp_path / "millpond_german_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "millpond_german.py").write_text(WORDS_OF_OTHERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


class TestContentPooling(PoolerConformance):
    """The tests of every pooler."""

    name = "CONTENT"


def test_stop_words_do_not_change_the_result(tmp_path):
    """The result is the mean of the other tokens."""
    folder = str(tiny("BertModel", tmp_path / "bert"))
    with LLM(folder, pooler_config={"pooling_type": "CONTENT"}) as llm:
        text = "the cat is on the roof"
        (output,) = llm.embed([text], use_tqdm=False)
        (tokens,) = llm.encode([text], PoolingParams(use_activation=False), pooling_task="token_embed", use_tqdm=False)
        pieces = llm.get_tokenizer().convert_ids_to_tokens(tokens.prompt_token_ids)
    rows = tokens.outputs.array[[piece not in WORDS for piece in pieces]]
    assert 0 < len(rows) < len(pieces)
    expected = rows.mean(axis=0)
    np.testing.assert_allclose(output.outputs.array, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_different_package_supplies_a_language(german, tmp_path):
    """Its records are used by name, listed and counted."""
    manager = PluginManager(strict=True)
    lists = manager.registry[StopwordListSpec]
    assert lists.get("german").load() == {"der", "die", "und"}
    (info,) = (info for info in manager.plugins() if info.name == "german")
    assert (info.hooks, info.counts) == (("register_stopword_lists",), {"stopword_list": 2})
    folder = str(tiny("BertModel", tmp_path / "bert"))
    with LLM(
        folder, plugins=manager, pooler_config={"pooling_type": "CONTENT"}, hf_overrides={"stopwords": "german"}
    ) as llm:
        assert len(llm.embed(["der Hund und die Katze"], use_tqdm=False)) == 1


def test_two_lists_of_one_language_have_qualified_names(german):
    """The name of a language of two packages is ambiguous."""
    lists = PluginManager(strict=True).registry[StopwordListSpec]
    with pytest.raises(UnknownNameError, match=re.escape("is ambiguous. Available: german/english, stopwords/english")):
        lists.get("english")
    assert lists.get("stopwords/english").load() is WORDS


def test_the_doctor_finds_a_word_in_upper_case(german):
    """The checks of this package apply to records of others."""
    registry = PluginManager(strict=True).registry
    (fault,) = record_faults(registry, registry[StopwordListSpec].get("german/english"))
    assert str(fault) == "its target contains 'The'; fix: write 'the'"
    assert record_faults(registry, registry[StopwordListSpec].get("german")) == []
