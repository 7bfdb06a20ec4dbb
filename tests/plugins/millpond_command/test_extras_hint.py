"""Hints that install an extra: they work for a clone, for a folder and for a wheel."""

import json

import pytest

from millpond_command import extras


class Installed:
    requires = ('starlette>=0.49; extra == "serve"', "pillow>=12; extra == 'images'", "numpy>=1.26")

    def __init__(self, origin):
        self._origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return None if self._origin is None else json.dumps(self._origin)


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///a%20b/clone", "dir_info": {"editable": True}}, "pip install -e '/a b/clone[serve]'"),
        ({"url": "file:///clone", "dir_info": {}}, "pip install '/clone[serve]'"),
        ({"url": "file:///dist/millpond.whl", "archive_info": {}}, "pip install 'starlette>=0.49'"),
        (None, "pip install 'starlette>=0.49'"),
    ],
)
def test_the_command_names_the_folder_or_else_the_packages(monkeypatch, origin, command):
    monkeypatch.setattr(extras, "distribution", lambda _: Installed(origin))
    assert extras.install_command("serve") == command
