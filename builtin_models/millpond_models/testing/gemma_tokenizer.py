"""The tokenizer of tiny SigLIP 2 checkpoints: Gemma's byte-pair encoding with a small vocabulary, as published."""

import json
import string
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

PAD, EOS, BOS, UNKNOWN, SPACE = "<pad>", "<eos>", "<bos>", "<unk>", "▁"
MERGES = [("t", "h"), ("th", "e"), (SPACE, "the"), ("a", "i"), ("ai", "n"), ("s", "n"), ("sn", "o"), ("sno", "w")]


def gemma_vocabulary() -> dict[str, int]:
    """Return the vocabulary: token to id. Characters that it lacks become the tokens of their bytes."""
    pieces = [PAD, EOS, BOS, UNKNOWN, SPACE, *string.printable.strip(), *(f"<0x{byte:02X}>" for byte in range(256))]
    return {token: number for number, token in enumerate([*pieces, *map("".join, MERGES)])}


def write_gemma_tokenizer(folder: Path, *, max_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json.

    tokenizer.json does not specify that texts are converted to lower case, and tokenizer_config.json specifies the side
    of the padding, because the class of the tokenizer in transformers has a different default.

    Args:
        folder: The folder of the checkpoint.
        max_length: ``model_max_length`` of tokenizer_config.json.
    """
    tokens = gemma_vocabulary()
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=tokens, merges=MERGES, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([PAD, EOS, BOS, UNKNOWN])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B:1 {EOS}:1", special_tokens=[(EOS, tokens[EOS])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "GemmaTokenizer", "model_max_length": max_length, "padding_side": "right"}
    names = {"pad_token": PAD, "eos_token": EOS, "bos_token": BOS, "unk_token": UNKNOWN}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | names), encoding="utf-8")
