"""Profiles: what is stored is found again, for models of that shape on that machine alone; who says more, wins."""

import asyncio
import json
import logging
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from millpond import LLM, AsyncLLM, InvalidInputError, UnknownNameError, machine
from millpond.config import EngineConfig
from millpond.loading import profile as profiles
from millpond.loading.arguments import ComputeOptions, read_arguments
from millpond.loading.build import resolve_model
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
    shape_of,
    stored_profiles,
    write_profile,
)
from millpond.loading.tuned import key_of
from millpond.testing.checkpoints import tiny

MEASURED = Measured(date="2026-11-21", millpond="0.1.0", torch="2.13.0", seconds=9.5, gain=1.2, tokens_per_second=5e3)
BUDGET, WORKERS = 777, 3
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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of profiles, which is not there yet."""
    path = tmp_path / "profiles"
    monkeypatch.setenv("MILLPOND_PROFILES", str(path))
    return path


@pytest.fixture
def model(tmp_path):
    return str(tiny("BertModel", tmp_path / "model"))


@pytest.fixture
def key(model, registry):
    """The key of the model as ``LLM(model)`` loads it."""
    return key_for(registry, model)


def key_for(registry, model, **arguments):
    read = read_arguments({"device": "cpu", **arguments})
    resolution, device = resolve_model(registry, model, read)
    return key_of(resolution, read.compute, device)


def profile_of(key, **settings):
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


# --- files ------------------------------------------------------------------------------------------------------------


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


def test_what_breaks_off_leaves_the_old_file_as_it_was(folder, key, monkeypatch):
    path = store(folder, key, num_workers=1)
    before = path.read_bytes()

    def interrupted(self, target):
        assert self != path
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(folder, key, num_workers=2)
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


# --- what it holds for ------------------------------------------------------------------------------------------------


def test_a_copy_with_other_weights_in_another_folder_has_the_same_key(key, registry, tmp_path):
    assert key_for(registry, str(tiny("BertModel", tmp_path / "tuned", seed=7, layer_norm_eps=1e-5))) == key


@pytest.mark.parametrize(
    ("architecture", "changes", "arguments"),
    [
        ("RobertaModel", {}, {}),
        ("BertModel", {"hidden_size": 64}, {}),
        ("BertModel", {"num_hidden_layers": 3}, {}),
        ("BertModel", {"num_attention_heads": 2}, {}),
        ("BertModel", {"intermediate_size": 64}, {}),
        ("BertModel", {}, {"dtype": "bfloat16"}),
        ("BertModel", {}, {"quantization": "int8"}),
        ("BertModel", {}, {"deterministic": True}),
    ],
    ids=str,
)
def test_another_model_or_mode_has_another_key(key, registry, tmp_path, architecture, changes, arguments):
    other = key_for(registry, str(tiny(architecture, tmp_path / "other", **changes)), **arguments)
    assert other.file_name != key.file_name
    assert sum(map(len, key.differences(other).values())) == 1


@pytest.mark.parametrize(("name", "value"), [("processor_name", "Another CPU"), ("available_cores", 77)])
def test_another_machine_has_another_key(key, registry, model, monkeypatch, name, value):
    monkeypatch.setattr(f"millpond.loading.tuned.{name}", lambda: value)
    other = key_for(registry, model)
    assert list(key.differences(other)) == ["machine"]
    assert other.file_name != key.file_name


def test_another_device_has_another_key(registry, model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, {device.type}")
    read = read_arguments({"device": "cpu"})
    resolution, _ = resolve_model(registry, model, read)
    key = key_of(resolution, ComputeOptions(kernels={}), torch.device("cuda:0"))
    assert (key.mode.device, key.machine.processor) == ("cuda", "a GPU, cuda")


def test_what_config_json_does_not_say_is_none():
    assert shape_of("Odd", {"hidden_size": True, "dim": 8, "n_layers": "6"}) == ModelShape(
        architecture="Odd", hidden_size=8, num_hidden_layers=None, num_attention_heads=None, intermediate_size=None
    )


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (
            "processor\t: 0\nmodel name\t: A  Chip @ 2.5GHz\n\nprocessor\t: 1\nmodel name\t: Another\n",
            "A Chip @ 2.5GHz",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", "CPU implementer 0x41 CPU part 0xd40"),
        ("", ""),
        ("no colon here", ""),
    ],
)
def test_the_processor_has_the_name_that_the_system_states(cpuinfo, name):
    assert machine.name_in(cpuinfo) == name


def test_this_machine_has_a_name():
    assert machine.processor_name() == machine.processor_name() != ""


def test_a_machine_that_states_nothing_has_a_name_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    assert machine.processor_name.__wrapped__()


# --- who wins ---------------------------------------------------------------------------------------------------------

DEFAULT = EngineConfig().max_num_batched_tokens
OTHER_ATTENTION = {"attention": "reference"}
BY_PROFILE = (BUDGET, WORKERS, "attention_reference")


def test_a_profile_goes_before_the_defaults(folder, key, model):
    before = taken(model)
    store(folder, key, kernels=OTHER_ATTENTION, max_num_batched_tokens=BUDGET, num_workers=WORKERS)
    assert taken(model) == BY_PROFILE
    assert before[:2] == (DEFAULT, None)
    assert before[2] != "attention_reference"


def test_what_a_profile_does_not_say_is_as_by_default(folder, key, model):
    before = taken(model)
    store(folder, key, num_workers=WORKERS)
    assert taken(model) == (before[0], WORKERS, before[2])


def test_what_the_caller_says_goes_before_a_profile(folder, key, model):
    store(folder, key, kernels=OTHER_ATTENTION, max_num_batched_tokens=BUDGET, num_workers=WORKERS)
    assert taken(model, max_num_batched_tokens=2048) == (2048, *BY_PROFILE[1:])
    assert taken(model, num_workers=1) == (BUDGET, 1, "attention_reference")
    assert taken(model, kernels={"attention": "sdpa"}) == (BUDGET, WORKERS, "attention_sdpa")
    assert taken(model, attention_backend="sdpa") == (BUDGET, WORKERS, "attention_sdpa")
    assert taken(model, kernels={"gelu": "torch"}) == BY_PROFILE


@pytest.mark.parametrize("without", [{"profile": False}, {"dtype": "bfloat16"}, {"deterministic": True}], ids=str)
def test_who_asks_for_none_or_for_something_else_gets_none(folder, key, model, without):
    store(folder, key, kernels=OTHER_ATTENTION, max_num_batched_tokens=BUDGET, num_workers=WORKERS)
    assert taken(model, **without)[:2] == (DEFAULT, None)


def test_the_variable_switches_profiles_off(folder, key, model, monkeypatch):
    path = store(folder, key, num_workers=WORKERS)
    monkeypatch.setenv("MILLPOND_PROFILES", "0")
    assert taken(model)[1] is None
    assert taken(model, profile=str(path))[1] == WORKERS


def test_async_llm_takes_it_too(folder, key, model):
    store(folder, key, kernels=OTHER_ATTENTION, max_num_batched_tokens=BUDGET, num_workers=WORKERS)

    async def taken(**arguments):
        async with AsyncLLM(model, device="cpu", **arguments) as llm:
            engine = llm.engine.engine
            return engine.scheduler.max_num_batched_tokens, engine.runner.num_workers, attention_of(llm)

    assert asyncio.run(taken()) == BY_PROFILE
    assert asyncio.run(taken(num_workers=1)) == (BUDGET, 1, "attention_reference")
    assert asyncio.run(taken(profile=False))[0] == DEFAULT


def test_results_do_not_change(folder, key, model):
    store(folder, key, kernels=OTHER_ATTENTION, max_num_batched_tokens=16, num_workers=WORKERS)
    with LLM(model) as tuned, LLM(model, profile=False) as plain:
        texts = [f"the cat on the {word}" for word in ("hill", "road", "street by the sea")]
        for one, two in zip(tuned.embed(texts), plain.embed(texts), strict=True):
            assert abs(one.outputs.array - two.outputs.array).max() < 1e-6


def test_the_log_says_that_a_profile_is_in_use(folder, key, model, caplog):
    path = store(folder, key, kernels=OTHER_ATTENTION, num_workers=WORKERS)
    with caplog.at_level(logging.INFO, logger="millpond"):
        taken(model)
    said = [record.getMessage() for record in caplog.records if "profile" in record.getMessage()]
    assert said == [f"{model}: the profile {path} is in use: attention=reference, num_workers={WORKERS}"]


def test_settings_are_told_in_a_line():
    assert str(ProfileSettings()) == "the defaults"
    assert str(ProfileSettings(max_num_batched_tokens=512)) == "max_num_batched_tokens=512"


# --- files that are given ---------------------------------------------------------------------------------------------


def test_a_given_file_is_taken(tmp_path, key, model):
    path = tmp_path / "mine.json"
    write_profile(path, profile_of(key, kernels=OTHER_ATTENTION, max_num_batched_tokens=BUDGET, num_workers=WORKERS))
    assert taken(model, profile=path) == taken(model, profile=str(path)) == BY_PROFILE


def test_a_given_file_may_come_from_another_machine(tmp_path, key, model, caplog):
    path = tmp_path / "mine.json"
    elsewhere = key.model_copy(update={"machine": Machine(processor="Elsewhere", cores=64)})
    write_profile(path, profile_of(elsewhere, num_workers=WORKERS))
    with caplog.at_level(logging.INFO, logger="millpond"):
        assert taken(model, profile=path)[1] == WORKERS
    assert "measured on another machine: processor='Elsewhere', not " in caplog.text


def test_a_given_file_of_another_model_or_mode_is_refused(tmp_path, key, model):
    path = tmp_path / "mine.json"
    write_profile(path, profile_of(key, num_workers=WORKERS))
    with pytest.raises(InvalidInputError, match=r"mine\.json holds for quantization=None, not 'int8'"):
        LLM(model, device="cpu", quantization="int8", profile=path)
    other = str(tiny("BertModel", tmp_path / "wider", hidden_size=64, intermediate_size=64))
    with pytest.raises(InvalidInputError, match=r"holds for hidden_size=32, not 64; intermediate_size=48, not 64"):
        LLM(other, device="cpu", profile=path)


@pytest.mark.parametrize("given", [1, 0.5, {"num_workers": 1}, b"bytes"], ids=str)
def test_what_is_no_path_is_refused(given, model):
    with pytest.raises(InvalidInputError, match=r"profile=.*the path of a file") as caught:
        LLM(model, profile=given)
    assert caught.value.parameter == "profile"


# --- files that are damaged -------------------------------------------------------------------------------------------


def damage(change):
    """A function that changes what a profile's file holds."""

    def apply(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return apply


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


def replaced_by(content):
    return lambda path: path.write_bytes(content)


def a_folder_instead(path):
    path.unlink()
    path.mkdir()


def a_link_to_nowhere_instead(path):
    path.unlink()
    path.symlink_to("nowhere")


FAULTS = {
    "cut off": (cut_off, "is not valid JSON"),
    "empty": (replaced_by(b""), "is not valid JSON"),
    "bytes": (replaced_by(b"\xff\xfe\x00"), "is not valid JSON"),
    "deep": (replaced_by(b"[" * 100_000), "is not valid JSON"),
    "a list": (replaced_by(b"[]"), "should hold a JSON object; it holds list"),
    "a folder": (a_folder_instead, "cannot be read: Is a directory"),
    "a link": (a_link_to_nowhere_instead, "cannot be read: No such file"),
    "of the future": (damage(lambda it: it.update(format=2)), "is of format 2; this Millpond reads format 1"),
    "of no format": (damage(lambda it: it.pop("format")), "is of format None"),
    "with more": (damage(lambda it: it.update(more=1)), "is damaged: .*more"),
    "with less": (damage(lambda it: it.pop("measured")), "is damaged: .*measured"),
    "of no workers": (damage(lambda it: it["settings"].update(num_workers=0)), "is damaged: settings.num_workers=0"),
    "of a text": (damage(lambda it: it["settings"].update(num_workers="2")), "is damaged: settings.num_workers='2'"),
    "of another model": (damage(lambda it: it["key"]["model"].update(hidden_size=31)), "hidden_size=31, not 32"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_left_aside_with_a_warning(folder, key, model, caplog, fault):
    spoil, reason = FAULTS[fault]
    path = store(folder, key, num_workers=WORKERS)
    spoil(path)
    assert taken(model)[1] is None
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    said = record.getMessage()
    assert said.startswith(f"the profile {path} ")
    assert said.endswith(f". It is left aside; `millpond tune {model}` makes it anew")
    with pytest.raises(InvalidInputError, match=reason) as caught:
        LLM(model, device="cpu", profile=path)
    assert str(caught.value) in said


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [
        ({"attention": "faster"}, r"no kernel serves 'attention\.faster'"),
        ({"atention": "sdpa"}, "no plugin brings the op 'atention'"),
        ({"attention": "int8_native"}, r"attention\.int8_native serves quantization='int8' alone"),
    ],
    ids=str,
)
def test_a_kernel_that_is_no_longer_there_is_no_error(folder, key, model, caplog, kernels, reason):
    path = store(folder, key, kernels=kernels, num_workers=WORKERS)
    assert taken(model)[1] is None
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(path) in record.getMessage()
    assert "`millpond tune" in record.getMessage()
    with pytest.raises(UnknownNameError, match=reason) as caught:
        LLM(model, device="cpu", profile=path)
    assert str(path) in str(caught.value)


def test_a_kernel_that_the_caller_replaces_need_not_be_there(folder, key, model, caplog):
    store(folder, key, kernels={"attention": "faster"}, num_workers=WORKERS)
    assert taken(model, kernels={"attention": "sdpa"})[1:] == (WORKERS, "attention_sdpa")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_way_out_names_the_mode(folder, registry, model, caplog):
    mode = {"dtype": "bfloat16", "quantization": "int8", "deterministic": True}
    store(folder, key_for(registry, model, **mode)).write_text("{", encoding="utf-8")
    LLM(model, device="cpu", **mode).close()
    way_out = f"`millpond tune {model} --dtype bfloat16 --quantization int8 --deterministic` makes it anew"
    assert way_out in caplog.text


def test_a_profile_that_would_undo_the_quantization_is_left_aside(folder, registry, model, caplog):
    key = key_for(registry, model, quantization="int8")
    store(folder, key, kernels={"linear": "torch"}, num_workers=WORKERS)
    assert taken(model, quantization="int8")[1] is None
    assert "quantization='int8' is not what 'linear.torch' computes in" in caplog.text


def test_a_kernel_behind_the_model_is_judged_as_it_will_be_computed(folder, registry, model, plugin_manager):
    """The activation of a bfloat16 model computes in float32, by a kernel that may know nothing else."""
    from millpond.specs import KernelSpec

    spec = KernelSpec(name="normalize.mine", target=lambda x: x / x.norm(dim=-1, keepdim=True), dtypes=("float32",))
    plugin_manager.register(spec)
    store(folder, key_for(registry, model, dtype="bfloat16"), kernels={"normalize": "mine"}, num_workers=WORKERS)
    assert taken(model, dtype="bfloat16", plugins=plugin_manager)[1] == WORKERS


def test_a_quantization_that_is_none_is_refused_as_ever(model):
    with pytest.raises(InvalidInputError, match="quantization=8: no kernel computes in it"):
        LLM(model, quantization=8)


def test_files_of_others_in_the_folder_are_told_and_harm_nothing(folder, key, model):
    path = store(folder, key, num_workers=WORKERS)
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "README").write_text("mine", encoding="utf-8")
    found = dict(stored_profiles(folder))
    assert set(found) == {path, folder / "broken.json"}
    assert isinstance(found[folder / "broken.json"], InvalidInputError)
    assert taken(model)[1] == WORKERS
    assert list(stored_profiles(folder / "absent")) == []


def test_the_ops_that_were_asked_for_are_known(model):
    with LLM(model, device="cpu", quantization="int8") as llm:
        ops = llm._loaded.context.ops  # noqa: SLF001
    assert {"attention", "linear", "normalize"} <= set(ops)
    assert "maxsim" not in ops
    assert (ops["linear"].quantization, ops["normalize"].quantization) == ("int8", None)


def test_a_context_made_by_hand_has_asked_for_nothing():
    from millpond.context import Context

    ctx = Context(registry=None, model=SimpleNamespace(), config={}, device=None, dtype=None)
    assert ctx.ops == {}
    assert replace(ctx, task="embed").ops is ctx.ops
