"""Large tensors of safetensors files stay in the memory-mapped file."""

import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import CheckpointError
from millpond.loading import weights
from millpond.loading.weights import CHECKED_VALUES, MIN_MAPPED_BYTES, check_finite, read_tensors
from millpond.testing.checkpoints import tiny, write_weights
from millpond.testing.comparisons import rewrite

MIN_VALUES = MIN_MAPPED_BYTES // 4  # values in float32
MIB = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/smaps")


def resident(path):
    """The bytes of a file's mappings in the memory of this process."""
    total, counted = 0, False
    with Path("/proc/self/smaps").open(encoding="utf-8") as lines:
        for line in lines:
            first = line.split(maxsplit=1)[0]
            if not first.endswith(":"):
                counted = line.rstrip("\n").endswith(str(path.resolve()))
            elif counted and first == "Rss:":
                total += int(line.split()[1]) * 1024
    return total


def is_mapped(tensor):
    """True if the memory of a tensor was not allocated by torch."""
    return not tensor.untyped_storage().resizable()


@pytest.fixture
def path(tmp_path):
    """A file with large and small tensors of several dtypes."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{dtype}.{count}".removeprefix("torch."): torch.randn(2, count // 2, generator=generator).to(dtype)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        for count in (6, 2 * MIN_VALUES)
    }
    tensors["ids"] = torch.arange(3 * MIN_VALUES)
    save_file(tensors, tmp_path / "some.safetensors")
    return tmp_path / "some.safetensors"


def test_all_tensors_have_their_values(path):
    actual, expected = dict(read_tensors(path, allow_pickle=False)), load_file(path)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)


def test_only_large_floating_point_tensors_are_mapped(path):
    assert {name for name, tensor in read_tensors(path, allow_pickle=False) if is_mapped(tensor)} == {
        f"{dtype}.{2 * MIN_VALUES}" for dtype in ("float64", "float32", "float16", "bfloat16")
    }


def test_misaligned_tensors_are_copied(tmp_path):
    values = torch.arange(MIN_VALUES, dtype=torch.float32)
    entry = {"dtype": "F32", "shape": [MIN_VALUES], "data_offsets": [0, values.nbytes]}
    header = json.dumps({"a": entry}).encode()
    header += b" " * (1 + -len(header) % 4)  # not a multiple of 4
    path = tmp_path / "some.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.numpy().tobytes())
    ((_, tensor),) = read_tensors(path, allow_pickle=False)
    assert not is_mapped(tensor)
    assert torch.equal(tensor, values)


def test_changes_of_a_tensor_do_not_reach_the_file(path):
    before = path.read_bytes()
    for _, tensor in read_tensors(path, allow_pickle=False):
        tensor.zero_()
        assert not tensor.any()
    assert path.read_bytes() == before


@linux
def test_pages_of_a_tensor_leave_the_memory_with_its_last_reference(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({name: torch.ones(MIB) for name in "abc"}, path)
    tensors = dict(read_tensors(path, allow_pickle=False))
    assert sum(float(tensor.sum()) for tensor in tensors.values()) == 3 * MIB
    assert resident(path) > 11 * MIB
    row = tensors["a"][:5]
    del tensors["a"]
    assert resident(path) > 11 * MIB
    del row
    assert 7 * MIB < resident(path) < 9 * MIB
    tensors["b"] = tensors["b"] + 1
    assert resident(path) < 5 * MIB
    assert float(tensors["c"].sum()) == MIB
    del tensors
    assert resident(path) == 0


@linux
def test_weights_used_unchanged_stay_memory_mapped(tmp_path, load, vector):
    folder = tiny("BertModel", tmp_path / "large", vocab_size=4096)
    llm = load(folder)
    expected = vector(llm)
    table = llm._loaded.model.get_parameter("embeddings.word_embeddings.weight")  # noqa: SLF001
    assert table.nbytes >= MIN_MAPPED_BYTES
    table.sum()
    path = folder / "model.safetensors"
    assert table.nbytes <= resident(path) < 2 * table.nbytes
    rewrite(folder, lambda tensors: {name: 2 * tensor for name, tensor in tensors.items()})  # by another file
    assert np.array_equal(vector(llm), expected)
    assert not np.array_equal(vector(load(folder)), expected)
    path.unlink()
    assert np.array_equal(vector(llm), expected)


def test_tensors_of_a_pickle_are_released_one_by_one(tmp_path):
    torch.save({name: torch.ones(4) for name in "ab"}, tmp_path / "some.bin")
    tensors = read_tensors(tmp_path / "some.bin", allow_pickle=True)
    first = weakref.ref(next(tensors)[1])
    assert next(tensors)[0] == "b"
    assert first() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_not_finite_are_counted_in_all_parts_of_a_tensor(tmp_path, dtype):
    values = torch.zeros(2, CHECKED_VALUES // 2 + 5, dtype=dtype)
    check_finite("a", values, tmp_path)
    values[0, 3], values[1, -1], values[1, -2] = float("nan"), float("inf"), -float("inf")
    with pytest.raises(CheckpointError, match=r"'a' in .* contains 3 NaN or infinite values"):
        check_finite("a", values, tmp_path)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_checkpoint_in_16_bits_equals_the_same_values_in_32(tmp_path, load, vector, quantization):
    folder, wide = (tiny("BertModel", tmp_path / name, dtype="bfloat16") for name in ("narrow", "wide"))
    write_weights(wide, {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()})
    options = {"dtype": "float32", "quantization": quantization}
    assert np.array_equal(vector(load(folder, **options)), vector(load(wide, **options)))


PEAK = """
import sys
from millpond import LLM
def memory(field):
    lines = open("/proc/self/status", encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
LLM(sys.argv[1], num_workers=1).close()  # imports everything
before = memory("VmRSS")
llm = LLM(sys.argv[2], num_workers=1, dtype=sys.argv[3], quantization=sys.argv[4] or None)
print(memory("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model with weights of 140 MiB."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": 22_000}
    return tiny("BertModel", tmp_path_factory.mktemp("large") / "bert", **sizes)


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "quantization"), [("float32", ""), ("bfloat16", ""), ("float32", "int8")])
def test_peak_of_loading_is_not_twice_the_weights(large, checkpoint, dtype, quantization):
    command = [sys.executable, "-c", PEAK, str(checkpoint), str(large), dtype, quantization]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1.4 * (large / "model.safetensors").stat().st_size


@linux
def test_a_file_that_is_replaced_after_its_checks_is_not_read(tmp_path, monkeypatch):
    path, expected = tmp_path / "model.safetensors", {"large": torch.ones(MIN_VALUES), "small": torch.ones(3)}
    save_file(expected, path)
    original = weights.safe_open

    def replaced(name, **options):
        save_file({key: -value for key, value in expected.items()}, tmp_path / "other")
        (tmp_path / "other").replace(path)
        return original(name, **options)

    monkeypatch.setattr(weights, "safe_open", replaced)
    assert {name: tensor.sum().item() for name, tensor in read_tensors(path, allow_pickle=False)} == {
        "large": MIN_VALUES,
        "small": 3,
    }
