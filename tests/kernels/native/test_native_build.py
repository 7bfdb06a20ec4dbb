"""The wheel with compiled kernels in it, and the one that a machine without a compiler builds of the same sources."""

import ctypes
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from millpond_kernels import native

REPOSITORY = Path(__file__).resolve().parents[3]
NATIVE = "millpond_kernels/native"
SOURCES = sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / "kernels" / NATIVE).glob("*.[ch]"))
LIBRARIES = sorted(native.LIBRARIES.values())
SECONDS_A_STEP = 300
STALE = b"\x7fELF, of an earlier source"
WITHOUT = "built without compiled kernels, torch kernels are used instead"

compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_compiler = pytest.mark.skipif(
    compiler is None or platform.machine() not in ("x86_64", "AMD64"), reason="it takes a C compiler, on x86-64"
)
INSTALLED = native.FOLDER
needs_installed = pytest.mark.skipif(
    not all((INSTALLED / library).is_file() for library in LIBRARIES), reason="needs kernels compiled at installation"
)

# Loads libraries, and prints the resulting state of the process.
LOAD = """
import ctypes, json, sys

def mapped():
    return {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "/" in line}

linux = sys.platform == "linux"
before = mapped() if linux else set()
functions = sys.argv[1].split(",")
libraries = [ctypes.CDLL(path) for path in sys.argv[2:]]
print(json.dumps({
    "functions": [[name for name in functions if hasattr(library, name)] for library in libraries],
    "brought_along": sorted(mapped() - before) if linux else sys.argv[2:],
    "half_of_smallest": sys.float_info.min / 2,
}))
"""

EDITABLE = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"


def run(*command, cwd, **variables):
    """Run a program; a variable that is None is taken away."""
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_A_STEP,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build_wheel(source, to, **variables):
    """Build a wheel like a user; return it and the output."""
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    output = run(sys.executable, "-m", "pip", "wheel", "-v", *options, "-w", to, source, cwd=source, **variables)
    (wheel,) = to.glob("*.whl")
    return wheel, output


def libraries_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".so"))
    assert {Path(name).parent.as_posix() for name in names} <= {NATIVE}
    return [Path(name).name for name in names]


def tag_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        (tag,) = re.findall(r"^Tag: (.+)$", archive.read(name).decode(), re.MULTILINE)
    assert wheel.name.endswith(f"-{tag}.whl")
    return tag


def unpack(wheel, to):
    """Unpack a wheel, and return where the compiled kernels lie if it has any."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(to)
    return to / NATIVE


def load(folder):
    """Load the libraries of a folder in a new interpreter; return the state of the process."""
    libraries = [folder / name for name in LIBRARIES]
    return json.loads(run(sys.executable, "-c", LOAD, ",".join(functions()), *libraries, cwd=folder))


def functions(library=None):
    """Return the public functions of the sources: all, or those for one library."""
    code = "".join(map(with_included_functions, SOURCES))
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    if library == native.LIBRARIES["AVX2"]:
        only_avx512 = r"^#(?:if WIDTH == 16|ifdef HAS_BF16_PRODUCTS)\n.*?^#(?:else|endif)\n"
        code = re.sub(only_avx512, "", code, flags=re.DOTALL | re.MULTILINE)
    return sorted(set(re.findall(r"^\w+ (millpond_\w+)\(", code, re.MULTILINE)))


def with_included_functions(source):
    """Return the code of a source, with the functions of ``converted_linear.h`` under the names of this source."""
    code = (REPOSITORY / source).read_text(encoding="utf-8")
    suffix = re.search(r"^#define FUNCTION\(name\) name##(\w+)$", code, re.MULTILINE)
    if suffix is None:
        return code
    shared = (REPOSITORY / source).with_name("converted_linear.h").read_text(encoding="utf-8")
    shared = re.sub(r"FUNCTION_WITH\((\w+), (\w+)\)", rf"\g<1>{suffix[1]}\g<2>", shared)
    return code + re.sub(r"FUNCTION\((\w+)\)", rf"\g<1>{suffix[1]}", shared)


def all_functions():
    """Return the expected functions of each library."""
    return [functions(library) for library in LIBRARIES]


def built_in(folder):
    return sorted(path.name for path in folder.rglob("*.so"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The content of the source distribution, from which every machine can build."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ".", cwd=REPOSITORY)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


@pytest.fixture(scope="module")
def compiled(sources, tmp_path_factory):
    """A wheel built where there is a compiler."""
    return build_wheel(sources, tmp_path_factory.mktemp("compiled"), CC=compiler)


@pytest.fixture
def pathless(tmp_path):
    """The environment of a machine without a compiler."""
    folder = tmp_path / "no-programs"
    folder.mkdir()
    return {"PATH": str(folder), "CC": None}


@pytest.mark.slow
def test_sources_are_enough_to_build_from(sources):
    assert SOURCES
    for source in SOURCES:
        assert (sources / source).read_bytes() == (REPOSITORY / source).read_bytes()
    assert (sources / "hatch_build.py").is_file()
    assert built_in(sources) == []


# --- with a compiler ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_compiler
def test_wheel_is_for_this_platform_and_any_python(compiled):
    wheel, output = compiled
    python, abi, system = tag_of(wheel).split("-")
    assert (python, abi) == ("py3", "none")
    assert system.endswith(platform.machine().lower())
    assert libraries_of(wheel) == LIBRARIES
    assert WITHOUT not in output


@pytest.mark.slow
@needs_compiler
def test_building_a_wheel_does_not_change_the_sources(compiled, sources):
    assert compiled[0].is_file()
    assert built_in(sources) == []


@pytest.mark.slow
@needs_compiler
def test_every_library_loads_and_holds_every_function(compiled, tmp_path):
    state = load(unpack(compiled[0], tmp_path))
    assert len(functions()) > 1
    assert state["functions"] == all_functions()


@pytest.mark.slow
@needs_compiler
def test_loading_the_kernels_changes_nothing_else(compiled, tmp_path):
    state = load(unpack(compiled[0], tmp_path))
    assert [Path(file).name for file in state["brought_along"]] == LIBRARIES, "they need libc and libm alone"
    assert state["half_of_smallest"] > 0, "numbers near 0 would be taken for 0 in the whole program"


@pytest.mark.slow
@needs_compiler
def test_compiler_may_be_named_with_options(sources, tmp_path):
    wrapper = tmp_path / "my-cc"
    wrapper.write_text(
        f'#!/bin/sh\n[ "$1" = --mine ] && shift && exec {shlex.quote(compiler)} "$@"\n', encoding="utf-8"
    )
    wrapper.chmod(0o755)
    wheel, _ = build_wheel(sources, tmp_path, CC=f"{shlex.quote(str(wrapper))} --mine")
    assert libraries_of(wheel) == LIBRARIES


@pytest.mark.slow
@needs_compiler
def test_an_assembler_without_avx_vnni_builds_the_rest(sources, tmp_path):
    wrapper = tmp_path / "old-cc"
    refuse = 'case "$*" in *probe.c*|*HAVE_AVX_VNNI*) echo "no such instruction" >&2; exit 1;; esac'
    wrapper.write_text(f'#!/bin/sh\n{refuse}\nexec {shlex.quote(compiler)} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    wheel, output = build_wheel(sources, tmp_path, CC=str(wrapper))
    assert WITHOUT not in output
    folder = unpack(wheel, tmp_path / "unpacked")
    libraries = [ctypes.CDLL(str(folder / name)) for name in LIBRARIES]
    has_dot_products = dict(zip(LIBRARIES, (it.millpond_linear_int8_dot_products() for it in libraries), strict=True))
    assert has_dot_products == {native.LIBRARIES["AVX2"]: 0, native.LIBRARIES["AVX512"]: 1}


@pytest.mark.slow
@needs_compiler
def test_an_editable_install_finds_the_kernels_next_to_their_source(sources, pathless, tmp_path):
    copy = shutil.copytree(sources, tmp_path / "copy")
    library = copy / "kernels" / NATIVE / LIBRARIES[0]
    library.write_bytes(STALE)
    with library.open("rb") as loaded:
        run(sys.executable, "-c", EDITABLE, tmp_path, cwd=copy, CC=compiler)
        assert loaded.read() == STALE, "what a running program has loaded stays as it is"
    assert built_in(copy) == LIBRARIES
    assert load(library.parent)["functions"] == all_functions()

    output = run(sys.executable, "-c", EDITABLE, tmp_path, cwd=copy, **pathless)
    assert WITHOUT in output
    assert built_in(copy) == [], "kernels of an earlier source must not stay"


# --- without one ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        pytest.param({}, "no C compiler found (tried cc, gcc, clang; set CC to use a different one)", id="none"),
        pytest.param(
            {"CC": "no-such-cc"}, "the C compiler no-such-cc cannot be started (No such file", id="named-in-vain"
        ),
        pytest.param({"MILLPOND_NO_NATIVE": "1", "CC": compiler}, "MILLPOND_NO_NATIVE is set", id="not-wanted"),
        pytest.param(
            {"CC": f"{shlex.quote(sys.executable)} -S"}, "could not compile the kernels, see above", id="fails"
        ),
    ],
)
def test_the_build_continues_without_compiled_kernels_and_warns(sources, pathless, tmp_path, variables, reason):
    wheel, output = build_wheel(sources, tmp_path, **{**pathless, **variables})
    assert tag_of(wheel) == "py3-none-any"
    assert libraries_of(wheel) == []
    (line,) = (line.strip() for line in output.splitlines() if WITHOUT in line)
    assert line.startswith("millpond: ")
    assert reason in line


@pytest.mark.slow
def test_kernels_of_an_editable_install_are_not_taken_into_a_wheel(sources, pathless, tmp_path):
    copy = shutil.copytree(sources, tmp_path / "copy", ignore=shutil.ignore_patterns(".gitignore"))
    (copy / "kernels" / NATIVE / LIBRARIES[0]).write_bytes(STALE)
    wheel, _ = build_wheel(copy, tmp_path / "wheel", **pathless)
    assert libraries_of(wheel) == []


# --- at run time ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder from which libraries are loaded; empty at first."""
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


def pretend(capability, monkeypatch):
    """Take this machine for one whose vectors torch calls so."""
    monkeypatch.setattr(native, "capability", lambda: capability)
    native.library.cache_clear()


@needs_installed
def test_the_processor_decides_which_library_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(native, "FOLDER", INSTALLED)
    loaded = {}
    for capability in native.LIBRARIES:
        pretend(capability, monkeypatch)
        loaded[capability] = Path(native.library()._name).name  # noqa: SLF001  ctypes has no public way to read it
    assert loaded == native.LIBRARIES
    pretend("DEFAULT", monkeypatch)
    assert not native.is_available()
    with pytest.raises(OSError, match=r"no kernels are compiled for DEFAULT\. Available: AVX512, AVX2"):
        native.library()


@needs_installed
@pytest.mark.parametrize(("value", "available"), [("1", False), ("0", True), ("", True)])
def test_compiled_kernels_can_be_switched_off(folder, monkeypatch, value, available):
    monkeypatch.setattr(native, "FOLDER", INSTALLED)
    pretend("AVX2", monkeypatch)
    monkeypatch.setenv("MILLPOND_NO_NATIVE", value)
    assert native.is_available() is available


@pytest.mark.parametrize("capability", native.LIBRARIES)
def test_without_compiled_libraries_no_native_kernels_are_available(folder, monkeypatch, capability):
    pretend(capability, monkeypatch)
    assert not native.is_available()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("capability", native.LIBRARIES)
def test_a_library_that_does_not_load_is_not_available(folder, monkeypatch, capability):
    (folder / native.LIBRARIES[capability]).write_bytes(STALE)
    pretend(capability, monkeypatch)
    assert not native.is_available()
