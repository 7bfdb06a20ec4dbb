"""An IO processor that returns the output with a name, for tests of what clients receive of such outputs."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from millpond import IOProcessor, PoolingParams
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Job
from millpond.plugin.specs import IOProcessorSpec

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@dataclass(eq=False, kw_only=True, slots=True)
class NamedJob(Job):
    """Job that contains the name of its output."""

    name: str


def maker_of(outputs: Mapping[str, object]) -> IOProcessorSpec:
    """Return an IO processor for the task plugin that returns the output with the name that a prompt is."""

    class Maker(IOProcessor):
        def encode(self, call):
            wanted = (Representation("embed", PoolingParams()),)
            return [
                NamedJob(sequences=(PoolingRequest(input_ids=np.array([5, 6]), representations=wanted),), name=data)
                for data in call.prompts
            ]

        def decode(self, job):
            return outputs[job.name]

    return IOProcessorSpec(name="maker", target=Maker, tasks=("plugin",))


def marked(content: bytes) -> dict[str, str]:
    """Return the JSON that represents bytes."""
    return {"type": "bytes", "base64": base64.b64encode(content).decode()}
