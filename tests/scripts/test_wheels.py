"""The files of a release: metadata, equal bytes of two builds, and the wheels installed in new environments."""

import importlib.util
import platform
import shlex
import shutil
import sys
from pathlib import Path

import long_description
import pytest
import wheels
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

README = """# Title

<!-- hidden:
```python
x = 1
```
-->
![A picture](docs/picture.svg)
See [the guide](docs/guide.md#start) and [another site](https://example.org).

```python
table[1](2)
```
"""


def test_links_of_the_long_description_are_absolute_with_a_url():
    text = long_description.long_description(README, "https://example.org/millpond/blob/v1")
    assert "![A picture](https://example.org/millpond/blob/v1/docs/picture.svg?raw=true)" in text
    assert "[the guide](https://example.org/millpond/blob/v1/docs/guide.md#start)" in text
    assert "[another site](https://example.org)" in text
    assert "table[1](2)" in text
    assert "hidden" not in text


def test_links_of_the_long_description_are_text_without_a_url():
    text = long_description.long_description(README)
    assert "See the guide and [another site](https://example.org)." in text
    assert "docs/" not in text
    assert "table[1](2)" in text


def test_long_description_of_the_readme_has_no_relative_links():
    readme = wheels.REPOSITORY.joinpath("README.md").read_text(encoding="utf-8")
    assert long_description.LINK.search(readme)
    assert not long_description.LINK.search(long_description.long_description(readme))


def test_files_that_differ_or_are_missing_are_named(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, files in ((first, {"a": "1", "b": "1"}), (second, {"a": "1", "b": "2", "c": "3"})):
        folder.mkdir()
        for name, text in files.items():
            folder.joinpath(name).write_text(text, encoding="utf-8")
    assert wheels.differing_files(first.iterdir(), second.iterdir()) == ["b", "c"]


def packaged(builder):
    """The paths in the repository of the files that a build would pack."""
    return {Path(file.path).relative_to(wheels.REPOSITORY) for file in builder.recurse_included_files()}


def test_wheel_and_source_distribution_contain_every_file_of_every_package():
    wheel = WheelBuilder(str(wheels.REPOSITORY))
    folders = [wheels.REPOSITORY / folder for folder in wheel.config.packages]
    present = {
        path.relative_to(wheels.REPOSITORY) for folder in folders for path in folder.rglob("*") if path.is_file()
    }
    expected = {path for path in present if path.suffix not in (".pyc", ".so", ".dll")}
    assert Path("plugins/millpond_vllm/arguments.toml") in expected
    assert {path.parts[1] for path in expected} >= {path.name for path in wheels.REPOSITORY.glob("plugins/millpond_*")}
    for builder in (wheel, SdistBuilder(str(wheels.REPOSITORY))):
        assert sorted(expected - packaged(builder)) == []


@pytest.mark.parametrize(("required", "passes"), [("2_5", True), ("2_17", True), ("2_34", False)])
def test_a_wheel_must_not_require_a_newer_glibc_than_its_tag(required, passes, monkeypatch):
    output = f'is consistent with the following\nplatform tag: "manylinux_{required}_x86_64".'
    monkeypatch.setattr(wheels, "run", lambda *_: output)
    wheel = Path("millpond-1.0-py3-none-manylinux_2_17_x86_64.whl")
    if passes:
        assert wheels.check_platform(wheel) == f"auditwheel: requires glibc {required.replace('_', '.')}"
    else:
        with pytest.raises(SystemExit, match=r"requires glibc 2\.34, which is newer than its tag"):
            wheels.check_platform(wheel)


def test_a_stated_platform_that_the_kernels_do_not_support_fails_the_build(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(wheels.REPOSITORY)
    import hatch_build

    monkeypatch.setenv("MILLPOND_WHEEL_PLATFORM", "manylinux_2_17_ppc64le")
    monkeypatch.delenv("MILLPOND_NO_NATIVE", raising=False)
    with pytest.raises(hatch_build.CannotCompileError, match="require x86_64 or aarch64, and the wheel is for manylin"):
        hatch_build.compile_kernels([], tmp_path)


@pytest.mark.parametrize(
    ("platform_tag", "libraries"),
    [
        ("manylinux_2_17_x86_64", ["kernels-x86-64-v3.so", "kernels-x86-64-v4.so"]),
        ("manylinux_2_17_aarch64", ["kernels-aarch64.so"]),
        ("macosx_11_0_arm64", ["kernels-aarch64.so"]),
        ("win_amd64", ["kernels-x86-64-v3.dll", "kernels-x86-64-v4.dll"]),
    ],
)
def test_each_platform_has_its_libraries(monkeypatch, tmp_path, platform_tag, libraries):
    monkeypatch.syspath_prepend(wheels.REPOSITORY)
    import hatch_build

    monkeypatch.setenv("MILLPOND_WHEEL_PLATFORM", platform_tag)
    monkeypatch.setenv("CC", f"{shlex.quote(sys.executable)} -c pass")  # accepts any option and does nothing
    monkeypatch.delenv("MILLPOND_NO_NATIVE", raising=False)
    assert [path.name for path in hatch_build.compile_kernels([], tmp_path)] == libraries


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="needs the package ziglang")
@pytest.mark.parametrize("target", [it for it in wheels.TARGETS if it.zig], ids=lambda it: it.platform)
def test_kernels_compile_for_each_platform_of_a_release(monkeypatch, tmp_path, target):
    monkeypatch.syspath_prepend(wheels.REPOSITORY)
    import hatch_build

    for name, value in target.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hatch_build, "FLAGS", [flag.replace("-O3", "-O1") for flag in hatch_build.FLAGS])
    sources = sorted(wheels.REPOSITORY.joinpath("kernels", hatch_build.FOLDER).glob("*.c"))
    libraries = hatch_build.compile_kernels(sources, tmp_path)
    assert all(b"millpond_linear_int8" in library.read_bytes() for library in libraries)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two builds of the source distribution, of a wheel for this machine and of the wheel for all platforms."""
    targets = [wheels.Target("native"), wheels.Target("any")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        return [wheels.build_files(tmp_path_factory.mktemp("dist"), targets) for _ in range(2)]


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("cc"), reason="needs x86-64 and a C compiler called cc"
)
def test_two_builds_have_equal_bytes_and_their_wheels_compute(files):
    first, second = files
    assert len(first) == 3
    assert wheels.differing_files(first, second) == []
    for wheel in (path for path in first if path.suffix == ".whl"):
        assert wheels.is_supported(wheel)
        report = wheels.install_and_use(wheel)
        is_pure = wheel.stem.endswith("-any")
        assert "linear" in report["kernels"]
        assert (report["compiled"] is True) is not is_pure
        if is_pure:
            assert "is not part of this installation" in wheels.describe(report)
