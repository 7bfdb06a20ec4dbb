"""The settings of tokenizers in tokenizer_config.json, and the defaults of the tokenizer classes of transformers."""

from collections.abc import Mapping

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository

FILE = "tokenizer_config.json"
SPECIAL_TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Families whose tokenizers in transformers return token_type_ids by default.
TOKEN_TYPE_FAMILIES = (
    "bert",
    "convbert",
    "deberta",
    "electra",
    "ernie",
    "funnel",
    "layoutlm",
    "mobilebert",
    "roformer",
)

# Families whose normalizer follows tokenizer_config.json rather than tokenizer.json.
NORMALIZED_BY_CONFIG_FAMILIES = (
    "bert",
    "distilbert",
    "electra",
    "funnel",
    "layoutlm",
    "mobilebert",
    "mpnet",
    "splinter",
)
# Default padding tokens of tokenizer classes in transformers, with the families that they belong to.
DEFAULT_PAD_TOKENS = {
    "[PAD]": (*TOKEN_TYPE_FAMILIES, "distilbert", "squeezebert"),
    "<pad>": ("albert", "camembert", "mpnet", "roberta", "t5", "xlm-roberta", "xlmroberta"),
    "<|endoftext|>": ("qwen",),
}
# Keys of tokenizer_config.json, and the options of BertNormalizer that they set.
NORMALIZER_OPTIONS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def read_tokenizer(repository: Repository) -> Layer:
    """Return the layer of tokenizer_config.json.

    Raises:
        CheckpointError: If a file is damaged.
    """
    config, family = repository.reader.tokenizer_config, _family(repository)
    names = config.get("model_input_names")
    has_types = "token_type_ids" in names if isinstance(names, list) else family.startswith(TOKEN_TYPE_FAMILIES)
    return Layer(
        FILE,
        {
            "text.token_roles": {**_default_pad_token(family), **_special_tokens(repository)},
            "text.token_type_ids": has_types,
            "text.padding_side": _side(config, "padding_side"),
            "text.truncation_side": _side(config, "truncation_side"),
            "text.normalizer": _normalizer(config, family),
        },
    )


def _family(repository: Repository) -> str:
    """The class of the tokenizer in transformers, else the ``model_type``, in lower case."""
    name = repository.reader.tokenizer_config.get("tokenizer_class") or repository.config.get("model_type")
    return name.lower() if isinstance(name, str) else ""


def _default_pad_token(family: str) -> dict[str, str]:
    """The default padding token of the tokenizer's class in transformers; empty if the class has none."""
    pad_tokens = DEFAULT_PAD_TOKENS.items()
    return next(({"pad_token": token} for token, families in pad_tokens if family.startswith(families)), {})


def _special_tokens(repository: Repository) -> dict[str, str]:
    """The special tokens by role, such as ``{"pad_token": "[PAD]"}``."""
    newer = {name: value for name, value in repository.reader.tokenizer_config.items() if value is not None}
    stated = {**read_object(repository.transformer_path / "special_tokens_map.json"), **newer}
    tokens = {name: _content(stated.get(name)) for name in SPECIAL_TOKEN_KEYS}
    return {name: token for name, token in tokens.items() if token is not None}


def _side(config: Mapping[str, object], key: str) -> str | None:
    """The side in tokenizer_config.json; None if only tokenizer.json may state one."""
    stated = config.get(key)
    return stated if stated in ("left", "right") else None


def _normalizer(config: Mapping[str, object], family: str) -> dict[str, bool]:
    """The options for lower case, accents and Chinese characters, which take precedence over tokenizer.json."""
    if not family.startswith(NORMALIZED_BY_CONFIG_FAMILIES):
        return {}
    values = {name: config.get(key) for key, name in NORMALIZER_OPTIONS.items()}
    return {name: value for name, value in values.items() if isinstance(value, bool)}


def _content(token: object) -> str | None:
    """The text of a token, which files store as a string or as an object with ``content``."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None
