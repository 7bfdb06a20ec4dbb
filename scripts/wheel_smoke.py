"""Embed two texts with a tiny model, and print the vectors and the selected kernels as JSON: python wheel_smoke.py.

`scripts/wheels.py` runs it in the environment of each wheel.
"""

import json
import tempfile
from pathlib import Path

import millpond
from millpond import LLM
from millpond.plugin.manager import get_plugin_manager
from millpond.testing.checkpoints import tiny
from millpond_cli.inspect.kernels import kernel_records
from millpond_kernels import native

TEXTS = ["a cup of tea", "a mug of coffee"]


def report() -> dict[str, object]:
    """Return the location of the package, the vectors, and the kernels that are selected on this machine."""
    with tempfile.TemporaryDirectory() as folder, LLM(str(tiny("BertModel", Path(folder, "model")))) as llm:
        vectors = llm.embed(TEXTS, output="array").tolist()
    records = kernel_records(get_plugin_manager().registry, "cpu", "float32")
    return {
        "package": str(Path(millpond.__file__).parent),
        "compiled": native.availability(),
        "kernels": {it["op"]: it["name"] for it in records if it["chosen"]},
        "vectors": vectors,
    }


if __name__ == "__main__":
    print(json.dumps(report()))
