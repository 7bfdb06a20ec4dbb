"""Files of profiles: what is stored is read again, where they are kept, and what breaks off harms none."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.loading import profile as profiles
from millpond.loading.profile import (
    ComputeMode,
    Machine,
    Measured,
    ModelShape,
    Profile,
    ProfileKey,
    ProfileSettings,
    profile_folder,
    read_profile,
    stored_profiles,
    write_profile,
)

words = st.text(max_size=20)
sizes = st.none() | st.integers(1, 1 << 40)
counts = st.integers(1, 1 << 40)
amounts = st.floats(0, 1e12)
KEYS = st.builds(
    ProfileKey,
    model=st.builds(
        ModelShape,
        architecture=words,
        hidden_size=sizes,
        num_hidden_layers=sizes,
        num_attention_heads=sizes,
        intermediate_size=sizes,
    ),
    mode=st.builds(ComputeMode, device=words, dtype=words, quantization=st.none() | words, deterministic=st.booleans()),
    machine=st.builds(Machine, processor=words, cores=counts),
)
PROFILES = st.builds(
    Profile,
    format=st.just(profiles.FORMAT),
    key=KEYS,
    settings=st.builds(
        ProfileSettings,
        kernels=st.dictionaries(words, words, max_size=3),
        max_num_batched_tokens=st.none() | counts,
        num_workers=st.none() | counts,
    ),
    measured=st.builds(
        Measured,
        date=words,
        millpond=words,
        torch=words,
        seconds=amounts,
        gain=st.none() | amounts,
        tokens_per_second=amounts,
    ),
)


@given(profile=PROFILES)
def test_a_profile_is_read_as_it_was_written(tmp_path_factory, profile):
    folder = tmp_path_factory.mktemp("profiles")
    path = folder / "deeper" / profile.key.file_name
    write_profile(path, profile)
    assert read_profile(path) == profile
    assert list(stored_profiles(path.parent)) == [(path, profile)]
    write_profile(path, profile)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@given(one=KEYS, other=KEYS)
def test_keys_that_differ_have_files_of_their_own(one, other):
    assert (one == other) == (one.file_name == other.file_name) == (not one.differences(other))
    assert re.fullmatch(r"[\w.-]+\.json", one.file_name, flags=re.ASCII)


def test_the_name_of_a_file_says_what_it_is_for(key):
    assert key.file_name.startswith("BertModel-32x2-cpu-float32-")


def test_what_breaks_off_leaves_the_old_file_as_it_was(folder, key, monkeypatch, kit):
    path = kit.store(folder, key, num_workers=1)
    before = path.read_bytes()

    def interrupted(self, target):
        assert self != path
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kit.store(folder, key, num_workers=2)
    assert [(item, item.read_bytes()) for item in folder.iterdir()] == [(path, before)]


CONFIG = {"MILLPOND_PROFILES": None, "XDG_CONFIG_HOME": None, "HOME": "/home/someone"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/home/someone/.config/millpond/profiles"),
        ({"XDG_CONFIG_HOME": "/settings"}, "/settings/millpond/profiles"),
        ({"XDG_CONFIG_HOME": "not/absolute"}, "/home/someone/.config/millpond/profiles"),
        ({"MILLPOND_PROFILES": "/here", "XDG_CONFIG_HOME": "/settings"}, "/here"),
        ({"MILLPOND_PROFILES": "~/here"}, "/home/someone/here"),
        ({"MILLPOND_PROFILES": ""}, "/home/someone/.config/millpond/profiles"),
        ({"MILLPOND_PROFILES": "0"}, "None"),
    ],
    ids=str,
)
@pytest.mark.skipif(sys.platform == "win32", reason="the conventions of Windows are others")
def test_where_profiles_are_kept(monkeypatch, variables, expected):
    for name, value in (CONFIG | variables).items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert str(profile_folder()) == expected


def test_who_has_no_home_has_no_profiles(monkeypatch):
    monkeypatch.delenv("MILLPOND_PROFILES")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def homeless():
        message = "Could not determine home directory."
        raise RuntimeError(message)

    monkeypatch.setattr(profiles.Path, "home", homeless)
    assert profile_folder() is None
