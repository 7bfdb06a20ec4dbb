"""Plugins with a fault each, and some without, tested with the conformance classes in a separate pytest process.

Each test file here has the source of its ``PLUGINS``, and in ``FAULTS`` the tests in which each class must fail. The
plugins of all files that are tested run in one process: to import what they need takes longer than they do.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = '''\
"""What has a fault each, and some without."""

import sys
import threading
import time
from dataclasses import dataclass, replace
from itertools import count
from types import ModuleType

import numpy as np
import torch

from millpond import IOProcessor, PoolingParams
from millpond.engine.request import PoolingRequest, Representation
from millpond.types.errors import InvalidInputError
from millpond.plugin.hookspecs import hookimpl
from millpond.nn import Pooler
from millpond.pipeline.io_processor import Job
from millpond.types.outputs import EmbeddingOutput
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    ConverterSpec,
    IOProcessorSpec,
    KernelSpec,
    PoolerSpec,
    PoolingDefaults,
    TaskSpec,
    TextInput,
)
from millpond_cache.kinds import CacheSpec
from millpond_cache.testing import CacheConformance
from millpond_text.kinds import TextStep, TextStepSpec
from millpond_text.testing import TextStepConformance
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import (
    ActivationConformance,
    ArchitectureConformance,
    ConverterConformance,
    IOProcessorConformance,
    KernelConformance,
    PoolerConformance,
    TaskConformance,
)
from millpond_models.encoders.bert.model import BertModel


class Mine:
    """Of a plugin with one record, which is named ``mine``."""

    fields = {}

    def plugins(self):
        manager = PluginManager()
        manager.register(self.record(name=self.name, target=self.target, **{"summary": "mine", **self.fields}))
        return manager


def mine(function):
    return staticmethod(function)


class Vectors(IOProcessor):
    """A list of ids from 5 on to the sum of the vectors of pieces of four; nothing for none."""

    def encode(self, call):
        jobs = []
        for data in call.prompts:
            try:
                jobs.append(self.job(self.read(data), call.params))
            except InvalidInputError as error:
                jobs.append(Job(error=error))
        return jobs

    def read(self, data):
        if not isinstance(data, list) or not all(type(number) is int and 5 <= number < 90 for number in data):
            raise InvalidInputError("a list of ids from 5 to 89 was wanted")
        return data

    def job(self, data, params):
        wanted = (Representation("embed", params),)
        pieces = [np.array(data[start : start + 4]) for start in range(0, len(data), 4)]
        return Job(sequences=tuple(PoolingRequest(input_ids=piece, representations=wanted) for piece in pieces))

    def decode(self, job):
        return sum((one.results[0] for one in job.sequences), np.zeros(32, dtype=np.float32))
'''


class Outcomes:
    """The outcomes of the tests of each class.

    Attributes:
        output: The output of pytest.
    """

    def __init__(self, output):
        self.output = output
        lines = re.findall(r"^test_faults\.py::(\w+)::(\S+) (PASSED|FAILED|ERROR|SKIPPED)", output, re.MULTILINE)
        assert lines, output
        self._by_class = {}
        for name, test, outcome in lines:
            self._by_class.setdefault(name, {})[test] = outcome

    def of(self, name, *kinds):
        """Return the tests of a class with one of these outcomes."""
        return {test for test, outcome in self._by_class[name].items() if outcome in kinds}

    def classes(self, source):
        """Return the test classes in the source code; each must have run."""
        names = set(re.findall(r"^class (Test\w+)", source, re.MULTILINE))
        assert names <= set(self._by_class)
        return names


@pytest.fixture(scope="session")
def outcomes(request, tmp_path_factory):
    """The outcomes for the plugins of all test files of this run, from one pytest process."""
    here = Path(__file__).parent
    modules = {item.module.__name__: item.module for item in request.session.items if item.path.parent == here}
    tested = {name: module for name, module in modules.items() if hasattr(module, "PLUGINS")}
    folder = tmp_path_factory.mktemp("faults")
    (folder / "test_faults.py").write_text(HEAD + "".join(it.PLUGINS for it in tested.values()), encoding="utf-8")
    selected = [f"Test{kind}Right" for it in tested.values() for kind in it.RIGHT]
    faults = [(name, tests) for it in tested.values() for name, tests in it.FAULTS.items()]
    selected += [f"{name}::{test}" for name, tests in faults for test in sorted(tests)]
    nodes = [f"test_faults.py::{node}" for node in selected]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rs", "--tb=line", "-p", "no:cacheprovider", *nodes],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    return Outcomes(process.stdout + process.stderr)
