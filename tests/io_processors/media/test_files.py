"""Files below the allowed folder, and known ways to escape from it."""

import os
from pathlib import Path

import pytest

from millpond_io.media.urls import Media


@pytest.fixture
def folder(tmp_path, kit):
    """A folder that is allowed, with an image, and beside it one that is not."""
    allowed, secret = tmp_path / "allowed", tmp_path / "allowed-not"
    (allowed / "deep er").mkdir(parents=True)
    secret.mkdir()
    for path in (allowed / "a.png", allowed / "deep er" / "b.png", secret / "s.png"):
        path.write_bytes(kit.png)
    (allowed / "inside.png").symlink_to(allowed / "a.png")
    (allowed / "outside.png").symlink_to(secret / "s.png")
    (allowed / "way").symlink_to(secret)
    (allowed / "loop").symlink_to(allowed / "loop")
    os.mkfifo(allowed / "pipe")
    return allowed


def test_files_below_the_folder_are_read(folder, kit):
    media = Media((), str(folder))
    for name in ("a.png", "deep%20er/b.png", "inside.png", "deep%20er/../a.png", "./a.png"):
        assert media.read(f"file://{folder}/{name}") == kit.png
    assert media.read(f"FILE://localhost{folder}/a.png") == kit.png


@pytest.mark.parametrize(
    "name",
    [
        "../allowed-not/s.png",
        "%2e%2e/allowed-not/s.png",
        "..%2fallowed-not%2fs.png",
        "outside.png",
        "way/s.png",
        "loop",
        "pipe",
        "",
        "deep%20er",
        "none.png",
        "a.png%00",
        "a.png/x",
        "../../../../../../../../etc/passwd",
    ],
)
def test_no_way_leads_out_of_the_folder(folder, name, kit):
    kit.refused(Media((), str(folder)).read, f"file://{folder}/{name}", "the file may not be read")


def test_other_spellings_of_files_are_refused(folder, kit):
    media = Media((), str(folder))
    for url in (
        "file:///etc/passwd",
        "file:///dev/zero",
        "file:///proc/self/environ",
        f"file://evil.test{folder}/a.png",
        f"file://127.0.0.1{folder}/a.png",
        "file://a.png",
        f"file:////{folder}/../allowed-not/s.png",
    ):
        kit.refused(media.read, url, "the file may not be read")
    for url in (f"file:{folder}/a.png", f"{folder}/a.png", "a.png", "", "ftp://x/", "javascript:1", " file:///a"):
        kit.refused(media.read, url, "must begin with data:image")


def test_without_a_folder_no_file_is_read(folder, kit):
    kit.refused(Media((), "").read, f"file://{folder}/a.png", "the file may not be read")
    kit.refused(Media((), str(folder / "gone")).read, f"file://{folder}/a.png", "the file may not be read")


def test_a_link_that_is_put_there_meanwhile_is_not_followed(folder, monkeypatch, kit):
    resolve = Path.resolve

    def swapped(self, *, strict=False):
        path = resolve(self, strict=strict)
        if self.name == "b.png":  # between the check and the opening
            (folder / "deep er" / "b.png").unlink()
            (folder / "deep er").rmdir()
            (folder / "deep er").symlink_to(folder.with_name("allowed-not"))
            folder.with_name("allowed-not").joinpath("b.png").write_bytes(b"secret")
        return path

    monkeypatch.setattr(Path, "resolve", swapped)
    kit.refused(Media((), str(folder)).read, f"file://{folder}/deep%20er/b.png", "the file may not be read")


def test_a_file_that_is_too_large_is_refused(folder, kit):
    with (folder / "large.png").open("wb") as file:
        file.truncate(2**24)
    kit.refused(Media((), str(folder)).read, f"file://{folder}/large.png", "more than 8388608 bytes")
