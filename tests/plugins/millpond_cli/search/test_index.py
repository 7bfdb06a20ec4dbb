"""SearchIndex: texts that are in the previous index keep their vectors; damaged files are replaced."""

import numpy as np
import pytest

from millpond_cli.io.rows import Row
from millpond_cli.search.index import empty_index, index_path, load_index, stamps_of, update

STAMPS = {"notes.txt": [10, 20]}


def rows_of(*texts):
    return [Row(number, f"notes.txt, line {number + 1}", text) for number, text in enumerate(texts)]


class Embed:
    """Returns the length of each text as its vector, and records the texts."""

    def __init__(self, limit=None):
        self.texts, self.limit = [], limit

    def __call__(self, rows):
        for row in rows[: self.limit]:
            self.texts.append(row.text)
            yield np.array([[len(row.text), 1]], np.float32)


def built(*texts, previous=None, limit=None):
    embed = Embed(limit)
    return update(previous or empty_index("f"), rows_of(*texts), STAMPS, embed), embed.texts


def test_each_different_text_is_embedded_once():
    index, embedded = built("a", "bbb", "a")
    assert embedded == ["a", "bbb"]
    assert index.vectors.tolist() == [[1, 1], [3, 1], [1, 1]]
    assert [index.row(number).text for number in range(3)] == ["a", "bbb", "a"]


def test_an_update_embeds_new_texts_only_and_drops_removed_ones():
    first, _ = built("a", "bbb", "cc")
    second, embedded = built("cc", "dddd", "a", previous=first)
    assert embedded == ["dddd"]
    assert second.vectors[:, 0].tolist() == [2, 4, 1]
    third, embedded = built("a", "cc", previous=second)
    assert embedded == []
    assert third.vectors[:, 0].tolist() == [1, 2]


def test_an_interrupted_update_keeps_what_is_computed_and_is_completed_later():
    partial, _ = built("a", "bbb", "cc", limit=2)
    assert (len(partial), dict(partial.stamps)) == (2, {})
    complete, embedded = built("a", "bbb", "cc", previous=partial)
    assert (embedded, complete.stamps) == (["cc"], STAMPS)


def test_a_source_without_text_has_an_empty_index(tmp_path):
    index, _ = built()
    index.save(tmp_path / "x" / "index.safetensors")
    assert len(load_index(tmp_path / "x" / "index.safetensors", "f")) == 0


def test_a_saved_index_is_equal_and_ignored_by_git(tmp_path):
    path = tmp_path / ".millpond" / "notes.safetensors"
    row = Row(0, "notes.txt, line 1", "caf\u00e9 \U0001f375", "id-1")
    index = update(empty_index("f"), [row], STAMPS, Embed())
    index.save(path)
    loaded = load_index(path, "f")
    assert (loaded.row(0), loaded.stamps, loaded.vectors.tolist()) == (row, STAMPS, index.vectors.tolist())
    assert (path.parent / ".gitignore").read_text(encoding="utf-8") == "*\n"


@pytest.mark.parametrize("content", [None, b"", b"damaged", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_or_missing_index_is_none(tmp_path, content):
    path = tmp_path / "index.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert load_index(path, "f") is None


def test_an_index_of_another_model_is_none(tmp_path):
    index, _ = built("a")
    index.save(tmp_path / "i" / "index.safetensors")
    assert load_index(tmp_path / "i" / "index.safetensors", "g") is None


def test_each_model_has_its_own_file_beside_the_source(tmp_path):
    source = tmp_path / "notes.txt"
    source.touch()
    one, two = index_path(source, ["a", None]), index_path(source, ["b", None])
    assert one != two
    assert one.parent == tmp_path / ".millpond"
    assert index_path(tmp_path, ["a"]).parent == tmp_path / ".millpond"
    assert stamps_of([source])[str(source)][0] == 0
