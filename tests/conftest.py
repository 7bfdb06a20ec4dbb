"""Settings of every test session: no network, no telemetry, nobody's cache or settings, one thread for computing."""

import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

_HUGGING_FACE_HOME = tempfile.mkdtemp(prefix="millpond-tests-hf-")
atexit.register(shutil.rmtree, _HUGGING_FACE_HOME, ignore_errors=True)

# Here and not in a fixture: huggingface_hub and tokenizers read the environment once, when they are imported.
for _name in [name for name in os.environ if name.startswith("MILLPOND_")]:
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

collect_ignore = ["addons"]  # their tests run where they are installed: see plugins/test_addon_wheel.py


def pytest_collection_modifyitems(items):
    """Refuse names of tests that differ from process to process: workers could not agree on what there is to run."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"names of tests hold an address, give their parameters ids: {', '.join(unstable)}")
