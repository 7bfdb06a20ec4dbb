"""Tokenizers of tiny checkpoints: word pieces of a small vocabulary, and bytes."""

from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from millpond.testing.files import write_json

WORDS = """
    a an and are as at be bird boat but by cat city cold dark day deep dog door down far fast fish for from go good
    green has have he high hill hot house how i in is it lake light long man mill new night no not of old on one or
    out over pond rain red river road run sea she ship sky slow small snow so stone street sun that the there they
    this to town tree two under up warm was water we what when where wind with woman word you
"""
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = "!\"'(),-.:;?"
SPECIAL = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "decoder": {"unk": "<unk>", "bos": "<s>", "eos": "</s>", "pad": "<pad>"},
}
PAD, UNKNOWN = "<|endoftext|>", "<unk>"  # of byte tokenizers
TEMPLATE_ROLES = {"bert": ("cls", "sep"), "roberta": ("cls", "sep"), "decoder": ("bos", "eos")}


def vocabulary(family: str = "bert") -> dict[str, int]:
    """Return the vocabulary of the tiny tokenizer: token to id."""
    pieces = [*SPECIAL[family].values(), *MARKS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *WORDS.split()]
    return {token: number for number, token in enumerate(dict.fromkeys(pieces))}


def write_tokenizer(folder: Path | str, family: str = "bert", *, max_length: int = 64) -> None:
    """Write tokenizer.json and tokenizer_config.json: lowercase word pieces, with special tokens around each text.

    Args:
        folder: The folder of the checkpoint.
        family: "bert" ([CLS] text [SEP]), "roberta" or "decoder" (<s> text </s>).
        max_length: ``model_max_length`` of tokenizer_config.json.
    """
    folder = Path(folder)
    special, tokens = SPECIAL[family], vocabulary(family)
    tokenizer = tokenizers.Tokenizer(models.WordPiece(tokens, unk_token=special["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(special.values()))
    start, end = (special[role] for role in TEMPLATE_ROLES[family])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(token, tokens[token]) for token in (start, end)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{role}_token": token for role, token in special.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length, **names}
    write_json(folder / "tokenizer_config.json", settings)


def byte_tokenizer(tokens: tuple[str, ...] = ()) -> tokenizers.Tokenizer:
    """Return a byte tokenizer: the padding and unknown tokens, then these special tokens, then 256 bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = {token: index for index, token in enumerate([PAD, UNKNOWN, *tokens, *letters])}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=pieces, merges=[], unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, UNKNOWN, *tokens])
    return tokenizer
