"""Settings of every test session: no network, no telemetry, nobody's cache or settings, one thread for computing.

Here as well is what keeps the quick tests quick: which of many are slow, and what each costs.
"""

import atexit
import gc
import os
import shutil
import tempfile
import zlib
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_HUGGING_FACE_HOME = tempfile.mkdtemp(prefix="millpond-tests-hf-")
atexit.register(shutil.rmtree, _HUGGING_FACE_HOME, ignore_errors=True)

# Here and not in a fixture: huggingface_hub and tokenizers read the environment once, when they are imported.
# MILLPOND_CPU_LEVEL stays: it has the tests run as on a smaller processor.
for _name in [name for name in os.environ if name.startswith("MILLPOND_") and name != "MILLPOND_CPU_LEVEL"]:
    del os.environ[_name]
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "HF_HOME": _HUGGING_FACE_HOME,  # a model cached on this machine would hide what a fresh one sees
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        # Several workers run tests at once (`make WORKERS=...`), and each takes one processor, with the servers and
        # commands that it starts. Tests of threads set their number themselves.
        "MKL_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)

if "CI" not in os.environ:  # there hypothesis sees to it by itself, and tries the same cases each time
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")

TESTS = Path(__file__).parent
pytest_plugins = ["shared_models"]  # in tests/support
collect_ignore = ["addons"]  # their tests run where they are installed: see behaviour/test_addon_wheel.py

# --- which tests are slow ---------------------------------------------------------------------------------------------

# Where tests have the most sets of parameters: one of so many is quick, besides the first.
SAMPLED = {
    TESTS / "behaviour": 3,
    TESTS / "builtin_models": 8,
    TESTS / "builtin_poolers": 8,
    TESTS / "core": 3,
    TESTS / "io_processors": 3,
    TESTS / "kernels": 6,
    TESTS / "plugins": 4,
}
MANY = 3  # sets of parameters of one test, from which on only some are quick


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as slow most of the sets of parameters that a test has, but never the first."""
    refuse_addresses(items)
    tests = defaultdict(list)
    for item in items:
        share = next((share for folder, share in SAMPLED.items() if folder in item.path.parents), None)
        if share is not None and item.get_closest_marker("slow") is None:
            tests[item.nodeid.partition("[")[0], share].append(item)
    for (_, share), (_, *others) in ((key, sets) for key, sets in tests.items() if len(sets) >= MANY):
        for item in others:
            # The name decides: in each process alike, and whatever the number of values that each parameter has.
            if zlib.crc32(item.name.encode()) % share:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Spare the garbage collector what was imported and collected: millions of objects, which stay to the end."""
    gc.collect()
    gc.freeze()


def refuse_addresses(items):
    """Refuse names of tests that differ from process to process: workers could not agree on what there is to run."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"names of tests hold an address, give their parameters ids: {', '.join(unstable)}")


# --- what quick tests cost --------------------------------------------------------------------------------------------

LONG = 4.0  # CPU seconds; a test that takes more, and is not marked as slow, is named at the end of a run
BEGUN = pytest.StashKey[float]()


def cpu_seconds():
    """The CPU time of this process, and of the processes that it started and that have ended."""
    return sum(os.times()[:4])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.stash[BEGUN] = cpu_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "teardown" and item.get_closest_marker("slow") is None:
        report.user_properties.append(("cpu_seconds", cpu_seconds() - item.stash[BEGUN]))
    return report


def pytest_terminal_summary(terminalreporter):
    """Say what the quick tests cost together, and which of them cost much: candidates for the mark "slow"."""
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
            if cost > LONG:
                terminalreporter.line(f"{cost:5.1f} s {name}")
