"""Profiles that are damaged, or name kernels that do not fit: left aside with a warning, refused where given."""

import json
import logging

import pytest

from millpond import LLM, InvalidInputError, UnknownNameError
from millpond.loading.profile import stored_profiles


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
def test_a_damaged_file_is_left_aside_with_a_warning(folder, key, model, caplog, fault, kit):
    spoil, reason = FAULTS[fault]
    path = kit.store(folder, key, num_workers=kit.workers)
    spoil(path)
    assert kit.taken(model)[1] is None
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
def test_a_kernel_that_is_no_longer_there_is_no_error(folder, key, model, caplog, kernels, reason, kit):
    path = kit.store(folder, key, kernels=kernels, num_workers=kit.workers)
    assert kit.taken(model)[1] is None
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(path) in record.getMessage()
    assert "`millpond tune" in record.getMessage()
    with pytest.raises(UnknownNameError, match=reason) as caught:
        LLM(model, device="cpu", profile=path)
    assert str(path) in str(caught.value)


def test_a_kernel_that_the_caller_replaces_need_not_be_there(folder, key, model, caplog, kit):
    kit.store(folder, key, kernels={"attention": "faster"}, num_workers=kit.workers)
    assert kit.taken(model, kernels={"attention": "sdpa"})[1:] == (kit.workers, "attention_sdpa")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_way_out_names_the_mode(folder, model, caplog, kit, key_for):
    mode = {"dtype": "bfloat16", "quantization": "int8", "deterministic": True}
    kit.store(folder, key_for(model, **mode)).write_text("{", encoding="utf-8")
    LLM(model, device="cpu", **mode).close()
    way_out = f"`millpond tune {model} --dtype bfloat16 --quantization int8 --deterministic` makes it anew"
    assert way_out in caplog.text


def test_a_profile_that_would_undo_the_quantization_is_left_aside(folder, model, caplog, kit, key_for):
    key = key_for(model, quantization="int8")
    kit.store(folder, key, kernels={"linear": "torch"}, num_workers=kit.workers)
    assert kit.taken(model, quantization="int8")[1] is None
    assert "quantization='int8' is not what 'linear.torch' computes in" in caplog.text


def test_a_kernel_behind_the_model_is_judged_as_it_will_be_computed(folder, model, plugin_manager, kit, key_for):
    """The activation of a bfloat16 model computes in float32, by a kernel that may know nothing else."""
    from millpond.specs import KernelSpec

    spec = KernelSpec(name="normalize.mine", target=lambda x: x / x.norm(dim=-1, keepdim=True), dtypes=("float32",))
    plugin_manager.register(spec)
    kit.store(folder, key_for(model, dtype="bfloat16"), kernels={"normalize": "mine"}, num_workers=kit.workers)
    assert kit.taken(model, dtype="bfloat16", plugins=plugin_manager)[1] == kit.workers


def test_a_quantization_that_is_none_is_refused_as_ever(model):
    with pytest.raises(InvalidInputError, match="quantization=8: no kernel computes in it"):
        LLM(model, quantization=8)


def test_files_of_others_in_the_folder_are_told_and_harm_nothing(folder, key, model, kit):
    path = kit.store(folder, key, num_workers=kit.workers)
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "README").write_text("mine", encoding="utf-8")
    found = dict(stored_profiles(folder))
    assert set(found) == {path, folder / "broken.json"}
    assert isinstance(found[folder / "broken.json"], InvalidInputError)
    assert kit.taken(model)[1] == kit.workers
    assert list(stored_profiles(folder / "absent")) == []
