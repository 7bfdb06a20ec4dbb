"""A folder that one process of pytest-xdist creates and all use."""

import os

from filelock import FileLock


def created_once(tmp_path_factory, name, create):
    """Return a folder of the run, which ``create(folder)`` has filled in this process or another one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            draft = folder.with_name(f"{name}-draft")
            draft.mkdir()  # left behind by a failed attempt, so that the next one fails at once
            create(draft)
            draft.rename(folder)
    return folder
