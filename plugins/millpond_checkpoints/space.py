"""Space: the files and settings that decide the numbers of a model's embeddings, and a short id of them.

``docs/decisions/space-id.md`` lists what is covered and why. Does not import torch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from reprlib import Repr
from typing import Any

from millpond.model.spec import ResolvedModel
from millpond.types.config import CheckpointConfig, InputOptions
from millpond.types.errors import InvalidInputError, SpaceMismatchError
from millpond.types.prompts import PROMPT_NAMES
from millpond_checkpoints.file_hashes import file_hashes

FORMAT = 1  # changes with the rules of this module, so that ids of different rules are never equal
ID_CHARS = 16
METADATA_KEY = "millpond.space"  # the place of the descriptor, as JSON, in the metadata of files of vectors
SIDECAR_SUFFIX = ".space.json"  # for a file with the descriptor, beside vectors in a format without metadata
FILE = "file "
SAFETENSORS, PICKLES, TRAINING_STATE = ".safetensors", (".bin", ".pt"), ("optimizer", "scheduler", "training_args")
# Files that tokenizers and image processors read; the vocabularies are not read if there is a tokenizer.json.
TOKENIZER_FILE = "tokenizer.json"
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json")
VOCABULARY_SUFFIXES = (".model", ".bpe")
# Keys of config.json that do not change embeddings, or that other settings contain.
IGNORED_KEYS = frozenset(
    {
        *("_commit_hash", "_name_or_path", "architectures", "attention_probs_dropout_prob", "auto_map", "dtype"),
        *("gradient_checkpointing", "hidden_dropout_prob", "id2label", "initializer_range", "label2id", "torch_dtype"),
        *("transformers_version", "use_cache"),
    }
)
MAX_DIFFERENCES = 8  # in an error message
_short = Repr()
_short.maxstring = _short.maxother = 80


@dataclass(frozen=True)
class Space:
    """The files and settings that decide the numbers of embeddings: vectors of one space can be compared.

    Attributes:
        settings: The value of each setting, and the SHA-256 of each file, by a name for messages. JSON values.
    """

    settings: Mapping[str, Any]

    def __hash__(self) -> int:
        """Return the hash of the id, since settings cannot be hashed."""
        return hash(self.id)

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 of the settings."""
        text = json.dumps([FORMAT, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_CHARS]

    @property
    def descriptor(self) -> dict[str, Any]:
        """The id with the settings, from which ``require`` derives differences. JSON values."""
        return {"space_id": self.id, "settings": dict(self.settings)}

    def of_call(
        self,
        *,
        dimensions: int | None = None,
        normalized: bool | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> "Space":
        """Return the space of calls that change settings of the model."""
        asked = {
            "number of dimensions": dimensions,
            "normalization": normalized,
            "query prompt": query_prompt,
            "document prompt": document_prompt,
        }
        changed = {name: value for name, value in asked.items() if value not in (None, self.settings.get(name))}
        return _changed(self, tuple(changed.items())) if changed else self

    def require(self, expected: object) -> None:
        """Check that this is the expected space.

        Args:
            expected: The id, or a descriptor: a mapping, or its JSON text. A mapping may contain it as ``space``.

        Raises:
            SpaceMismatchError: If it is another space; names the differences if a descriptor was passed.
            InvalidInputError: If the value is neither an id nor a descriptor.
        """
        space_id, settings = _read_expected(expected)
        if space_id == self.id:
            return
        if settings is None:
            message = (
                f"This model's embeddings have the space {self.id}; {space_id} was expected. Pass the descriptor that "
                "was stored with the vectors instead of the id to see the differences"
            )
            raise SpaceMismatchError(message, parameter="expect_space")
        differences = [*_differences(self.settings, settings)] or ["the ids have different formats"]
        more = len(differences) - MAX_DIFFERENCES
        shown = "; ".join([*differences[:MAX_DIFFERENCES], *([f"{more} other differences"] if more > 0 else [])])
        message = f"This model's embeddings have the space {self.id}; {space_id} was expected: {shown}"
        raise SpaceMismatchError(message, parameter="expect_space")


@lru_cache(maxsize=32)  # servers request the same few spaces again and again
def _changed(space: Space, changed: tuple[tuple[str, Any], ...]) -> Space:
    return Space({**space.settings, **dict(changed)})


def space_of(model: ResolvedModel, inputs: InputOptions | None = None) -> Space:
    """Return the space of a model's embeddings. Reads its weights, once for each state of its files.

    Args:
        model: The settings of the model.
        inputs: The default treatment of prompts, as the model is loaded with.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    folder = Path(model.identity.path)
    hashes = file_hashes(folder, _decides)
    settings = {**_settings(model, inputs or InputOptions()), **{f"{FILE}{name}": digest for name, digest in hashes}}
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return Space(plain)


def _decides(path: Path) -> bool:
    """True for files with weights, and for those that a tokenizer or an image processor reads."""
    if path.suffix in PICKLES:
        safe = path.with_suffix(SAFETENSORS) if path.suffix == ".pt" else path.with_name("model.safetensors")
        is_replaced = safe.exists() or safe.with_name(f"{safe.name}.index.json").exists()
        return not is_replaced and path.stem not in TRAINING_STATE
    if path.name in VOCABULARIES or path.suffix in VOCABULARY_SUFFIXES:
        return not path.with_name(TOKENIZER_FILE).exists()
    names = (TOKENIZER_FILE, *TOKENIZER_SETTINGS, *IMAGE_PROCESSOR_FILES)
    return path.suffix == SAFETENSORS or path.name in names


def _settings(model: ResolvedModel, inputs: InputOptions) -> dict[str, Any]:
    """Return the settings besides files, by a name that fits into "the NAME differs"."""
    prompting, embedding, retrieval = model.prompting, model.embedding, model.retrieval
    default_prompt = prompting.prompts.get(prompting.default_name or "", "") if inputs.apply_default_prompt else ""
    modules = {"before": model.modules.before, "after": model.modules.after}
    late = None if retrieval.late_interaction is None else asdict(retrieval.late_interaction)
    return {
        "architecture": (model.hf_config.get("architectures") or [model.architecture])[0],
        "converter": model.identity.converter,
        **{f"value of {key} (config.json)": value for key, value in _scalars(model.hf_config)},
        **{f"pooling type of {task}": name for task, name in model.pooling_types.items() if "embed" in task},
        **{
            f"list of modules {position} pooling": [[it.type, dict(it.config)] for it in listed]
            for position, listed in modules.items()
        },
        **{f"{side} prompt": _prompt_of(prompting.prompts, names) for side, names in PROMPT_NAMES.items()},
        "default prompt": default_prompt,
        "pooling of the tokens of prompts": prompting.include_prompt,
        "chat template": prompting.chat_template if model.text.message_format else None,
        **{f"setting {name} of texts": value for name, value in asdict(model.text).items() if name != "steps"},
        **({"text steps": list(model.text.steps)} if model.text.steps else {}),
        **{f"setting {name} of late interaction": value for name, value in (late or {}).items()},
        "routes of input types": list(retrieval.routes),
        "number of dimensions": model.pooler_config.dimensions or embedding.size,
        "normalization": model.pooler_config.use_activation is not False,
        "similarity": retrieval.late_similarity if late else embedding.similarity,
        "kind of sparse vectors": embedding.sparse,
        "maximum number of active dimensions": embedding.max_active_dims,
    }


def _scalars(config: CheckpointConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of config.json and of objects in it that can change embeddings, with their keys."""
    for key, value in config.items():
        if isinstance(value, CheckpointConfig) and key not in IGNORED_KEYS:
            yield from _scalars(value, f"{prefix}{key}.")
        elif key not in IGNORED_KEYS:
            yield f"{prefix}{key}", value


def _prompt_of(prompts: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((prompts[name] for name in names if name in prompts), "")


def _read_expected(expected: object) -> tuple[str, Mapping[str, Any] | None]:
    """Return the id, and the settings if a descriptor was passed."""
    if isinstance(expected, str) and expected.lstrip().startswith("{"):
        try:
            expected = json.loads(expected)
        except (ValueError, RecursionError):
            expected = None
    if isinstance(expected, Mapping):
        expected = expected.get("space", expected)
    if isinstance(expected, str) and expected.strip():
        return expected.strip(), None
    if isinstance(expected, Mapping):
        space_id, settings = expected.get("space_id"), expected.get("settings")
        if isinstance(space_id, str) and isinstance(settings, Mapping):
            return space_id, settings
    message = (
        "expect_space is neither an id nor a descriptor, which is a JSON object with 'space_id' and 'settings'. "
        "`millpond inspect MODEL --json` contains it as 'space'"
    )
    raise InvalidInputError(message, parameter="expect_space")


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    """Yield the difference of each setting, in words."""
    for name in dict.fromkeys([*here, *there]):
        one, other = here.get(name), there.get(name)
        if one == other:
            continue
        if not name.startswith(FILE):
            yield f"the {name} differs: {_shown(one)} here, {_shown(other)} there"
        elif None in (one, other):
            yield f"the {name} exists only {'there' if one is None else 'here'}"
        else:
            yield f"the content of the {name} differs"


def _shown(value: object) -> str:
    return "none" if value is None else _short.repr(value)
