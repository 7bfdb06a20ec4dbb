"""Settings of all tests: no network, no telemetry, no user cache or settings, one compute thread.

It also marks some parametrized tests as slow, distributes files to processes, and reports the CPU time of quick tests.
"""

import atexit
import gc
import os
import shutil
import tempfile
import zlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_HUGGING_FACE_HOME = tempfile.mkdtemp(prefix="millpond-tests-hf-")
atexit.register(shutil.rmtree, _HUGGING_FACE_HOME, ignore_errors=True)

# This is not in a fixture because huggingface_hub and tokenizers read the environment when they are imported.
# MILLPOND_CPU_LEVEL is kept: it runs the tests as on a CPU with fewer instructions.
for _name in [name for name in os.environ if name.startswith("MILLPOND_") and name != "MILLPOND_CPU_LEVEL"]:
    del os.environ[_name]
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "HF_HOME": _HUGGING_FACE_HOME,  # models cached on this machine must not be found
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "MILLPOND_CONFIG_FILE": "",  # files of this machine must not be read
        # Several workers run tests at the same time (`make WORKERS=...`). Each uses one core, including the servers and
        # commands that it starts. Tests of threads set their number explicitly.
        "MKL_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)

if "CI" not in os.environ:  # in CI, hypothesis selects its own profile with fixed cases
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")

TESTS = Path(__file__).parent
pytest_plugins = ["shared_models"]  # in tests/support
collect_ignore = ["addons"]  # their tests run after installation: see behaviour/test_addon_wheel.py

# --- which tests are slow ---------------------------------------------------------------------------------------------

# For tests with many parameter sets: one in N sets is quick, and the first one.
SAMPLED = {
    TESTS / "behaviour": 12,
    TESTS / "builtin_models": 16,
    TESTS / "builtin_poolers": 16,
    TESTS / "core": 12,
    TESTS / "docs": 6,
    TESTS / "io_processors": 12,
    TESTS / "kernels": 12,
    TESTS / "plugins": 16,
}
MIN_SAMPLED_SETS = 3  # tests with at least this number of parameter sets are sampled
# Classes of conformance tests repeat the same tests for each component: one in N is quick, and the first of each class.
CONFORMANCE_FILE = "test_conformance.py"
CONFORMANCE_SHARE = 3


@cache
def share_of(path):
    """Return N if one in N parameter sets of a file's tests is quick; None if all are."""
    return next((share for folder, share in SAMPLED.items() if folder in path.parents), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark most parameter sets of a test as slow, but never the first one. Files with other slow tests are first."""
    refuse_addresses(items)
    long_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long_files)  # else a process would run the last one alone
    tests = defaultdict(list)
    for item in items:
        share = share_of(item.path)
        if share is not None and item.get_closest_marker("slow") is None:
            tests[item.nodeid.partition("[")[0], share].append(item)
    for (_, share), (_, *others) in ((key, sets) for key, sets in tests.items() if len(sets) >= MIN_SAMPLED_SETS):
        for item in others:
            # Selected by name: all processes select the same sets, and added sets do not change the others.
            if zlib.crc32(item.name.encode()) % share:
                item.add_marker(pytest.mark.slow)
    sample_conformance(items)


def sample_conformance(items):
    """Mark most quick tests of conformance classes as slow, but never the first one of a class."""
    classes = defaultdict(list)
    for item in items:
        if item.path.name == CONFORMANCE_FILE and item.cls is not None and item.get_closest_marker("slow") is None:
            classes[item.path, item.cls.__name__].append(item)
    for _, *others in classes.values():
        for item in others:
            if zlib.crc32(item.nodeid.encode()) % CONFORMANCE_SHARE:
                item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect without garbage collection, which would take a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish():
    """Exclude imported and collected objects from garbage collection: millions of objects that live until the end."""
    gc.collect()
    gc.freeze()


def refuse_addresses(items):
    """Refuse test names that contain an address: they differ between processes, and pytest-xdist needs equal names."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"test names contain an address, set ids for their parameters: {', '.join(unstable)}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Distribute files instead of single tests with ``--dist loadfile``."""
    from scheduling import FileScheduling

    return FileScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


# --- CPU time of quick tests ------------------------------------------------------------------------------------------

EXPENSIVE_TEST_CPU_S = 4.0  # quick tests that take longer are listed at the end of a run
START_CPU_S = pytest.StashKey[float]()


def cpu_seconds():
    """Return the CPU time of this process and of its ended child processes."""
    return sum(os.times()[:4])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.stash[START_CPU_S] = cpu_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "teardown" and item.get_closest_marker("slow") is None:
        report.user_properties.append(("cpu_seconds", cpu_seconds() - item.stash[START_CPU_S]))
    return report


def pytest_terminal_summary(terminalreporter):
    """Report the CPU time of the quick tests, and list expensive ones, which may need the mark "slow"."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    costs = [
        (value, report.nodeid)
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == "cpu_seconds"
    ]
    if costs:
        terminalreporter.section(f"quick tests: {sum(cost for cost, _ in costs):.0f} CPU seconds, without collecting")
        for cost, name in sorted(costs, reverse=True):
            if cost > EXPENSIVE_TEST_CPU_S:
                terminalreporter.line(f"{cost:5.1f} s {name}")
