"""What the tests of profiles share: a tiny model, the key of its profile, what is stored, and what that leads to."""

from types import SimpleNamespace

import pytest

from millpond import LLM, machine
from millpond.loading.arguments import read_arguments
from millpond.loading.build import resolve_model
from millpond.loading.profile import Measured, Profile, ProfileSettings, write_profile
from millpond.loading.tuned import key_of
from millpond.testing.checkpoints import tiny

MEASURED = Measured(date="2026-11-21", millpond="0.1.0", torch="2.13.0", seconds=9.5, gain=1.2, tokens_per_second=5e3)
BUDGET, WORKERS = 777, 3
OTHER_ATTENTION = {"attention": "reference"}


def profile_of(key, **settings):
    """A profile of these settings."""
    return Profile(key=key, settings=ProfileSettings(**settings), measured=MEASURED)


def store(folder, key, **settings):
    """Store a profile as ``millpond tune`` does; its file."""
    path = folder / key.file_name
    write_profile(path, profile_of(key, **settings))
    return path


def attention_of(llm):
    """The module of the attention kernel that a model computes with."""
    return llm._loaded.model.layers[0].attention.attention.kernel.__module__.rpartition(".")[2]  # noqa: SLF001


def taken(model, **arguments):
    """What a model is loaded with: tokens of a batch, workers, attention."""
    with LLM(model, device="cpu", **arguments) as llm:
        assert llm._engine.runner.num_workers == (llm.engine_config.num_workers or machine.available_cores())  # noqa: SLF001
        assert llm._engine.scheduler.max_num_batched_tokens == llm.engine_config.max_num_batched_tokens  # noqa: SLF001
        return llm.engine_config.max_num_batched_tokens, llm.engine_config.num_workers, attention_of(llm)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What stands above, for test modules cannot import it."""
    return SimpleNamespace(
        budget=BUDGET,
        workers=WORKERS,
        other_attention=OTHER_ATTENTION,
        by_profile=(BUDGET, WORKERS, "attention_reference"),
        profile_of=profile_of,
        store=store,
        attention_of=attention_of,
        taken=taken,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of profiles, which is not there yet."""
    path = tmp_path / "profiles"
    monkeypatch.setenv("MILLPOND_PROFILES", str(path))
    return path


@pytest.fixture
def model(tmp_path):
    """The folder of a tiny BERT."""
    return str(tiny("BertModel", tmp_path / "model"))


@pytest.fixture
def key_for(registry):
    """The key of a model as ``LLM(model, **arguments)`` loads it."""

    def key_for(model, **arguments):
        read = read_arguments({"device": "cpu", **arguments})
        resolution, device = resolve_model(registry, model, read)
        return key_of(resolution, read.compute, device)

    return key_for


@pytest.fixture
def key(model, key_for):
    """The key of the model as ``LLM(model)`` loads it."""
    return key_for(model)
