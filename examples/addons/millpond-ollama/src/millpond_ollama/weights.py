"""The weights of a model on disk: their size, dtype and number of parameters, read from the headers of the files."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from safetensors import safe_open

PATTERNS = ("*.safetensors", "*.bin")  # the first one with files is used
CONFIG = "config.json"
MAX_MODELS = 64  # of one server


@dataclass(frozen=True)
class Weights:
    """The weights of a model.

    Attributes:
        format: The suffix of the files, such as "safetensors".
        size: Their size in bytes.
        modified_at: The time of their last change, in ISO 8601.
        digest: A SHA-256 in hexadecimal of config.json and of the names and sizes of the files.
        num_parameters: The number of parameters; 0 if it is unknown.
        dtype: The most frequent dtype, such as "F32"; empty if it is unknown.
    """

    format: str
    size: int
    modified_at: str
    digest: str
    num_parameters: int
    dtype: str


@lru_cache(maxsize=MAX_MODELS)
def read_weights(folder: Path) -> Weights:
    """Describe the weights in a folder, without reading the tensors."""
    files = next(filter(None, (sorted(folder.glob(pattern)) for pattern in PATTERNS)), [])
    stats = [file.stat() for file in files]
    hashed = hashlib.sha256((folder / CONFIG).read_bytes())
    for file, stat in zip(files, stats, strict=True):
        hashed.update(f"{file.name} {stat.st_size}\n".encode())
    counts = _count_parameters([file for file in files if file.suffix == ".safetensors"])
    return Weights(
        format=files[0].suffix.removeprefix(".") if files else "",
        size=sum(stat.st_size for stat in stats),
        modified_at=datetime.fromtimestamp(max((stat.st_mtime for stat in stats), default=0), tz=UTC).isoformat(),
        digest=hashed.hexdigest(),
        num_parameters=counts.total(),
        dtype=counts.most_common(1)[0][0] if counts else "",
    )


def _count_parameters(files: list[Path]) -> Counter[str]:
    """Return the number of parameters of each dtype."""
    counts: Counter[str] = Counter()
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is not a mapping
                tensor = tensors.get_slice(name)
                counts[tensor.get_dtype()] += math.prod(tensor.get_shape())
    return counts
