"""Long texts are cut before the tokenizer; the tokens that are kept are those of the whole text."""

import random
from functools import cache

import pytest
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from millpond import PoolingParams
from millpond.model.tokenizer import Tokenizer
from millpond_io.text import excerpts
from millpond_io.text.boundaries import WORD_PATTERNS, Boundaries
from millpond_io.text.prompt_tokenizer import PromptTokenizer
from millpond_text.prompt import Prompt

SCRIPTS = [
    ["the", "miller's", "heron", "don't", "naïve", "x" * 120, "e\u0301te\u0301", "ﬁne", "[MASK]", "1234", "a_b", "C++"],
    ["Гуси", "летят", "над", "прудом", "Ёлка"],
    ["ὁ", "μυλωνᾶς", "ΟΔΟΣ", "και"],
    ["שלום", "עוֹלָם", "טחנה"],
    ["مرحبا", "بِالعالَم", "طاحونة", "٣٤"],
    ["चक्की", "का", "तालाब", "हिन्दी"],
    ["สวัสดี", "ชาวโลก", "น้ำ"],
    ["물방앗간", "연못", "\u1112\u1161\u11ab"],
    ["水車小屋の池", "カモ", "ｶﾞｷﾞ", "が\u3099", "一二三", "㍿"],
    ["磨坊池塘里的苍鹭", "中国人民", "\uff0c", "。", "、", "龘龘"],
    ["👩‍👩‍👧‍👦", "👍🏽", "🇳🇱🇧🇪", "☃\ufe0f", "\u200d", "\u200b", "\ufeff"],
    ["!", "...", "``", "''", "'s", "▁", "<b>", "\u00a0", "\u3164", "\x00", "\u0301", "\u017f", "İ"],
]
SEPARATORS = [" ", " ", " ", " ", "  ", "", "\n", "\t", "\u3000", ", ", ". ", "。"]
NUM_SLOW = 10_000
NUM_QUICK = 300
LIMITS = (4, 9, 17, 40)


def random_text(rng):
    """Return a text of up to 2,000 characters in one or several scripts, with separators between its words or none."""
    scripts = rng.sample(SCRIPTS, rng.choice((1, 1, 2, len(SCRIPTS))))
    separators = rng.choice((SEPARATORS, [" "], [""]))
    words = [rng.choice(rng.choice(scripts)) for _ in range(rng.randrange(40, 250))]
    text = "".join(word + rng.choice(separators) for word in words)
    return text if rng.random() < 0.9 else f"{text[: rng.randrange(200)]}{' ' * 300}{text}"


def corpus():
    return [random_text(random.Random(seed)) for seed in range(40)]


def trained(model, trainer, normalizer, pre_tokenizer):
    backend = Backend(model)
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    backend.train_from_iterator(corpus(), trainer)
    cls, sep = backend.token_to_id("[CLS]"), backend.token_to_id("[SEP]")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    backend.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    return backend


SPECIAL = {"special_tokens": ["[UNK]", "[CLS]", "[SEP]"], "show_progress": False, "vocab_size": 700}
NMT = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
SENTENCEPIECE = normalizers.Replace(" ", "▁")


def byte_level(pre_tokenizer):
    trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **SPECIAL)
    return trained(models.BPE(), trainer, normalizers.NFC(), pre_tokenizer)


def word_piece(normalizer):
    backend = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(**SPECIAL),
        normalizer,
        pre_tokenizers.BertPreTokenizer(),
    )
    vocab = backend.get_vocab(with_added_tokens=False)
    backend.model = models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100)
    return backend


def unigram(normalizer, pre_tokenizer):
    trainer = trainers.UnigramTrainer(unk_token="[UNK]", **SPECIAL)
    return trained(models.Unigram(), trainer, normalizer, pre_tokenizer)


def words_with_bytes(pattern):
    splitter = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([splitter, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def unsplit_bpe():
    """Return a BPE over whole texts, like Gemma's: a word never contains a space except at its start."""
    backend = trained(
        models.BPE(unk_token="[UNK]", fuse_unk=True),
        trainers.BpeTrainer(**SPECIAL),
        SENTENCEPIECE,
        pre_tokenizers.Metaspace(),
    )
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return backend


FAMILIES = {
    "WordPiece, lower case": lambda: word_piece(normalizers.BertNormalizer()),
    "WordPiece, Chinese words": lambda: word_piece(normalizers.BertNormalizer(handle_chinese_chars=False)),
    "BPE of GPT-2": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "BPE of GPT-2 with a space before texts": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "BPE of GPT-4": lambda: byte_level(words_with_bytes(WORD_PATTERNS[2])),
    "BPE of Qwen": lambda: byte_level(words_with_bytes(WORD_PATTERNS[3])),
    "BPE of Gemma": unsplit_bpe,
    "Unigram": lambda: unigram(NMT, pre_tokenizers.Metaspace()),
    "Unigram of XLM-R": lambda: unigram(
        NMT, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    ),
}


@cache
def family(name):
    return Tokenizer(FAMILIES[name]())


def prompt_tokenizer(tiny_bert, tokenizer):
    """Return the tokenizer of prompts of a model, with another vocabulary."""
    result = PromptTokenizer(tiny_bert.pipeline.task_of("embed", None).processor.ctx)
    result.tokenizer, result.has_unknown_tokens = tokenizer, False
    return result


def whole(tokenizer, text, limit, side):
    """Return the ids of a text that is tokenized completely and then truncated."""
    return tokenizer.encode_truncated(text, limit, side=side)


def difference(prompts, texts, seed):
    """Return the first text whose tokens differ from those of the complete tokenization; None without one."""
    rng = random.Random(seed)
    for text in texts:
        limit, side = rng.choice(LIMITS), rng.choice(("right", "right", "left"))
        params = PoolingParams(truncate_prompt_tokens=limit, truncation_side=side)
        (result,) = prompts.tokenize([Prompt(text=text)], params)
        expected = whole(prompts.tokenizer, text, limit, side)
        if result.input_ids.tolist() != expected:
            return text, limit, side, result.input_ids.tolist(), expected
    return None


@pytest.fixture(autouse=True)
def short_excerpts(monkeypatch):
    """Let excerpts begin with few characters, so that short texts are cut too."""
    monkeypatch.setattr(excerpts, "MIN_EXCERPT_CHARS", 24)
    monkeypatch.setattr(excerpts, "EXCERPT_CHARS_PER_TOKEN", 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_are_those_of_the_whole_text(tiny_bert, name):
    prompts = prompt_tokenizer(tiny_bert, family(name))
    texts = [random_text(random.Random(seed)) for seed in range(NUM_QUICK // len(FAMILIES))]
    assert difference(prompts, texts, seed=1) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_of_many_texts_are_those_of_the_whole_text(tiny_bert, name):
    prompts = prompt_tokenizer(tiny_bert, family(name))
    texts = (random_text(random.Random(1000 + seed)) for seed in range(NUM_SLOW // len(FAMILIES)))
    assert difference(prompts, texts, seed=2) is None


@pytest.mark.slow
def test_the_tokens_of_minilm_are_those_of_the_whole_text(tiny_bert, minilm):
    prompts = prompt_tokenizer(tiny_bert, minilm.pipeline.task_of("embed", None).processor.prompt_tokenizer.tokenizer)
    texts = (random_text(random.Random(seed)) for seed in range(2000))
    assert difference(prompts, texts, seed=3) is None


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_tokenizer_reads_a_number_of_characters_that_depends_on_the_limit(tiny_bert, monkeypatch, name, side):
    prompts = prompt_tokenizer(tiny_bert, family(name))
    counts = []
    encode = prompts._encode  # noqa: SLF001  the only place that reads text
    monkeypatch.setattr(
        prompts, "_encode", lambda texts, **kw: counts.append(sum(map(len, texts))) or encode(texts, **kw)
    )
    params = PoolingParams(truncate_prompt_tokens=16, truncation_side=side)
    prompts.tokenize([Prompt(text="the heron and the miller " * 20_000)], params)
    assert 0 < sum(counts) <= 5 * 16 * excerpts.EXCERPT_CHARS_PER_TOKEN


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer"),
    [
        (normalizers.Replace(Regex(r"(\w) (\w)"), "x"), pre_tokenizers.Whitespace()),
        (None, pre_tokenizers.Split(Regex(r".{3}"), "isolated")),
        (None, pre_tokenizers.ByteLevel(use_regex=False)),
        (None, pre_tokenizers.Metaspace(split=False)),
        (None, None),
    ],
)
def test_a_tokenizer_whose_tokens_may_span_words_has_no_boundaries(normalizer, pre_tokenizer):
    backend = Backend(models.BPE({"▁": 0, "a": 1, "a▁": 2}, [("a", "▁")]))
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    assert Boundaries(backend).rules == ()
    assert Boundaries(backend).find("the heron " * 100, 200, "right") is None


def test_an_added_token_that_spans_words_leaves_no_boundaries():
    backend = Backend(models.WordLevel({"a": 0}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    assert Boundaries(backend).rules
    backend.add_tokens(["new york"])
    assert Boundaries(backend).rules == ()
