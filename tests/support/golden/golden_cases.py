"""Cases of golden files: each architecture, each published model, kinds of checkpoints, and precedence of settings."""

from collections.abc import Mapping
from typing import Any

from golden_checkpoints import (
    OF_PUBLISHED,
    REGISTRY,
    SIZE,
    Writer,
    autoencoder,
    bare,
    model2vec,
    peft_adapters,
    pylate,
    reranker,
    routes,
    sparse,
    stanford,
    static_modules,
    with_files,
    with_modules,
    writer_of,
)
from golden_records import TEXT, Call, Case

from millpond.testing.checkpoints import DenseLayer

QUICK_ARCHITECTURES = ("BertModel", "Qwen3Model", "HF_ColBERT", "RobertaForSequenceClassification")
BERT, QWEN3, ROBERTA = bare("BertModel"), bare("Qwen3Model"), bare("RobertaModel")
CLASSIFIER = bare("BertForSequenceClassification", num_labels=3)
SCORER = bare("BertForSequenceClassification", num_labels=1)
SENTENCE = with_modules(BERT)
QUERY, LONG_TEXT = "a cat", "the cat sat on the old mill by the river " * 20
CHAT = "{% for message in messages %}{{ message['content'] }} and the dog{% endfor %}"
ROPE = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}


def embed(text: str = TEXT, **options: Any) -> Call:
    """Return a call of ``LLM.embed``."""
    return "embed", ([text],), options


def token_embed(text: str = TEXT, **params: Any) -> Call:
    """Return a call of the task ``token_embed``."""
    return "encode", ([text],), {"pooling_task": "token_embed", "pooling_params": params}


def embed_with(text: str = TEXT, **params: Any) -> Call:
    """Return a call of the task ``embed`` with parameters."""
    return "encode", ([text],), {"pooling_task": "embed", "pooling_params": params}


CALLS: Mapping[str, Call] = {"embed": embed()}
SIDES = {
    "query": token_embed(QUERY, extra_kwargs={"input_type": "query"}),
    "document": token_embed(extra_kwargs={"input_type": "document"}),
    "score": ("score", (QUERY, TEXT), {}),
}


def embeds(write: Writer, **options: Any) -> Case:
    """Return a case with one embedding."""
    return Case(write=write, options=options, calls=CALLS)


def calls(write: Writer, options: Mapping[str, Any] | None = None, /, **by_name: Call) -> Case:
    """Return a case with named calls."""
    return Case(write=write, options=options or {}, calls=by_name)


def architectures() -> dict[str, Case]:
    """Return a case for each architecture, and for the heads that converters turn into pooling models."""
    names = [entry.spec.name for entry in REGISTRY.architectures.entries()]
    native = [name for name in names if "/" not in name]
    others = ("BertForMaskedLM", "RobertaForMaskedLM", "Qwen3ForCausalLM", "LlamaForSequenceClassification")
    more = ("LlamaForTokenClassification", "MistralForCausalLM", "GemmaForCausalLM", "AlbertModel")
    return {
        name: Case(write=writer_of(name), quick=name in QUICK_ARCHITECTURES)
        for name in dict.fromkeys((*native, *others, *more))
    }


def published() -> dict[str, Case]:
    """Return a case for each record of a published model, with the name of the model as the name of the folder."""
    cases = {}
    for entry in REGISTRY.published_models.entries():
        spec = entry.spec
        name = spec.checkpoint_architecture or spec.architecture
        write = OF_PUBLISHED.get(spec.name)
        if write is None:
            write = writer_of(name) if spec.rerank_template is None else reranker(name)
        folder = spec.name.rpartition("/")[2].replace("*", "x")
        cases[spec.name] = Case(write=write, folder=folder, quick=spec.name == "Qwen/Qwen3-Reranker*")
    return cases


def checkpoints() -> dict[str, Case]:
    """Return cases for the kinds of checkpoints that libraries write."""
    dense = [DenseLayer(in_features=SIZE, out_features=16)]
    table = {"embed": embed(), "tokens": token_embed(), "score": ("score", (QUERY, TEXT), {})}
    adapters = {"plain": embed(), "query": embed_with(adapter="retrieval.query"), "named": embed_with(adapter="x")}
    sparse_calls = {
        "sparse": ("embed_sparse", ([TEXT],), {}),
        "two": ("embed_sparse", ([TEXT],), {"max_active_dims": 2}),
    }
    sides = {kind: embed(input_type=kind) for kind in ("query", "document")}
    return {
        "sentence-transformers": Case(write=SENTENCE, quick=True),
        "sentence-transformers, old layout": Case(write=with_modules(BERT, layout="old", pooling="cls")),
        "sentence-transformers, Dense": Case(write=with_modules(BERT, dense=dense)),
        "sentence-transformers, pickled Dense": Case(
            write=with_modules(BERT, dense=[DenseLayer(in_features=SIZE, out_features=16, pickled=True)]),
            options={"allow_pickle": True},
        ),
        "sentence-transformers, two pooling types": Case(
            write=with_modules(BERT, pooling=["cls", "mean"], size=2 * SIZE)
        ),
        **{
            f"sentence-transformers, {mode}": embeds(with_modules(BERT, pooling=mode))
            for mode in ("max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
        },
        "sentence-transformers, Router": calls(routes, plain=embed(), **sides),
        "sparse encoder": Case(write=sparse(), calls=sparse_calls, quick=True),
        "sparse encoder, old layout": Case(write=sparse(layout="old", strategy="sum"), calls=sparse_calls),
        "sparse encoder, log1p": Case(write=sparse(activation="log1p_relu"), calls=sparse_calls),
        "sparse encoder, RoBERTa": Case(write=sparse("RobertaForMaskedLM"), calls=sparse_calls),
        "sparse autoencoder": Case(write=autoencoder(), calls=sparse_calls),
        "sparse autoencoder, standardized": Case(
            write=autoencoder("cls", standardizes=True, normalizes=True), calls=sparse_calls
        ),
        "static, own folder": Case(write=static_modules("0_StaticEmbedding"), calls=table),
        "static, Dense": Case(write=static_modules("", dense=True), calls=table),
        "model2vec": Case(write=model2vec, calls=table, quick=True),
        "ColBERT, Stanford": calls(stanford(), **SIDES),
        "ColBERT, artifact.metadata": calls(
            stanford(query_maxlen=20, doc_maxlen=30, attend_to_mask_tokens=True, mask_punctuation=False), **SIDES
        ),
        "PyLate": Case(write=pylate(), calls=SIDES, quick=True),
        "PyLate, markers as text": calls(pylate(added=False), **SIDES),
        "PyLate, expansion attended": calls(pylate(attend_to_expansion_tokens=True, skiplist_words=["the"]), **SIDES),
        "PyLate, prompts": calls(pylate(prompts={"query": "what is ", "document": "[D] it is "}), **SIDES),
        "PyLate, ModernBERT": calls(pylate("ModernBertModel", query_length=40), **SIDES),
        "PyLate, not expanded": calls(pylate(do_query_expansion=False), **SIDES),
        "Jina adapters in one file": calls(bare("XLMRobertaModel", position_embedding_type="rotary"), **adapters),
        "PEFT adapters in folders": calls(peft_adapters, **adapters),
        "sharded weights": embeds(bare("BertModel", shards=3)),
        "prefixed weights": embeds(bare("BertModel", prefix="bert.")),
    }


def pooling_precedence() -> dict[str, Case]:
    """Return cases of the origins of the pooling type and the activation: option > files > config.json > default."""
    cls = with_modules(BERT, pooling="cls")
    user = {"pooler_config": {"pooling_type": "MAX"}}
    named = bare("ModernBertForSequenceClassification", classifier_pooling="mean")
    llama = bare("LlamaBidirectionalModel", pooling="last")
    return {
        "pooling of the architecture, encoder": embeds(BERT),
        "pooling of the architecture, decoder": embeds(QWEN3),
        "pooling of the files": embeds(cls),
        "pooling of the files over the architecture": embeds(with_modules(QWEN3, pooling="mean")),
        "pooling of an option over the files": embeds(cls, **user),
        "pooling of an option over the architecture": embeds(QWEN3, **user),
        "seq_pooling_type of an option": embeds(cls, pooler_config={"seq_pooling_type": "MEAN"}),
        "several pooling types of an option": embeds(cls, pooler_config={"pooling_type": "CLS+MEAN"}),
        "unknown pooling type": embeds(BERT, pooler_config={"pooling_type": "ODD"}),
        "token pooling type for a prompt": embeds(BERT, pooler_config={"seq_pooling_type": "ALL"}),
        "token pooling type of an option": calls(
            bare("LlamaForCausalLM"),
            {"pooler_config": {"pooling_type": "STEP", "step_tag_id": 7, "returned_token_ids": [5, 6]}},
            step=("encode", ([[9, 7, 8, 7]],), {"pooling_task": "token_classify"}),
        ),
        "classifier_pooling of config.json": Case(write=named),
        "classifier_pooling of an override": Case(write=named, options={"hf_overrides": {"classifier_pooling": "cls"}}),
        "pooling of config.json": embeds(llama),
        "pooling of config.json, override": embeds(llama, hf_overrides={"pooling": "avg"}),
        "pooling of the files over config.json": embeds(with_modules(llama, pooling="cls")),
        "pooling of a converted classifier": embeds(CLASSIFIER, convert="embed"),
        "pooling of a converted language model": embeds(bare("Qwen3ForCausalLM"), convert="embed"),
        "splade of an option": calls(
            bare("BertForMaskedLM"),
            {"pooler_config": {"pooling_type": "SPLADE_MAX"}},
            sparse=("embed_sparse", ([TEXT],), {}),
        ),
        "task of an option": embeds(SENTENCE, pooler_config={"task": "token_embed"}),
        "unsupported task of an option": embeds(SENTENCE, pooler_config={"task": "classify"}),
        "Normalize in the files": embeds(SENTENCE),
        "no Normalize in the files": embeds(with_modules(BERT, normalize=False)),
        "an option over Normalize": embeds(SENTENCE, pooler_config={"use_activation": False}),
        "an option over no Normalize": embeds(
            with_modules(BERT, normalize=False), pooler_config={"use_activation": True}
        ),
        "a parameter over an option": calls(
            SENTENCE, {"pooler_config": {"use_activation": False}}, embed=embed_with(use_activation=True)
        ),
        "pooling of an option over late interaction": embeds(pylate(), pooler_config={"pooling_type": "MEAN"}),
        "convert over late interaction": embeds(pylate(), convert="embed"),
        "chunks of an option": calls(
            SENTENCE,
            {"pooler_config": {"enable_chunked_processing": True, "max_embed_len": 500}},
            embed=embed(LONG_TEXT),
        ),
    }


def length_precedence() -> dict[str, Case]:
    """Return cases of the origins of the maximum length, with a text that is longer."""
    cut = {"embed": embed_with(LONG_TEXT, truncate_prompt_tokens=-1), "refused": embed_with(LONG_TEXT)}
    limited = with_modules(BERT, max_seq_length=48)
    tokenizer = with_files(BERT, tokenizer_config={"model_max_length": 40})
    rotary = with_files(QWEN3, tokenizer_config={"model_max_length": 40})
    trained = bare("ModernBertModel", max_trained_positions=30, max_position_embeddings=128)
    stretched = bare("NomicBertModel", max_trained_positions=30, rotary_scaling_factor=2.0)
    cases = {
        "config.json": (BERT, {}),
        "config.json after the padding id": (ROBERTA, {}),
        "tokenizer_config.json": (tokenizer, {}),
        "tokenizer_config.json, rotary": (rotary, {}),
        "tokenizer_config.json without limit": (with_files(BERT, tokenizer_config={"model_max_length": 1e30}), {}),
        "tokenizer.json": (with_files(BERT, tokenizer={"truncation": TRUNCATION}), {}),
        "sentence_bert_config.json": (limited, {}),
        "sentence_bert_config.json over the tokenizer": (with_modules(tokenizer, max_seq_length=48), {}),
        "sentence_bert_config.json over the position table": (with_modules(BERT, max_seq_length=100), {}),
        "sentence_bert_config.json, rotary": (with_modules(QWEN3, max_seq_length=100), {}),
        "model_max_length of config.json": (bare("BertModel", model_max_length=20), {}),
        "max_trained_positions": (trained, {}),
        "max_trained_positions, scaled": (stretched, {}),
        "scaled rotary positions": (bare("LlamaModel", rope_scaling=ROPE, max_position_embeddings=128), {}),
        "no length stated": (with_files(QWEN3, config={"max_position_embeddings": None}), {}),
        "an option below": (limited, {"max_model_len": 16}),
        "an option above sentence_bert_config.json": (limited, {"max_model_len": 60}),
        "an option above the tokenizer": (tokenizer, {"max_model_len": 60}),
        "an option above the position table": (limited, {"max_model_len": 65}),
        "an option above rotary positions": (QWEN3, {"max_model_len": 100}),
        "an option above max_trained_positions": (trained, {"max_model_len": 60}),
        "an override of config.json": (BERT, {"hf_overrides": {"max_position_embeddings": 30}}),
        "PyLate, a maximum without the marker": (pylate(document_length=20, limit=19), {}),
        "PyLate, longer queries": (pylate(query_length=30, document_length=24, limit=23), {}),
        "PyLate, a maximum below the expansion": (pylate(query_length=24, document_length=None, limit=15), {}),
        "PyLate, an option": (pylate(), {"max_model_len": 20}),
    }
    return {
        name: Case(write=write, options=options, calls=LONG_SIDES if name.startswith("PyLate") else cut)
        for name, (write, options) in cases.items()
    }


TRUNCATION = {"max_length": 24, "strategy": "LongestFirst", "direction": "Right", "stride": 0}
LONG_SIDES = {
    kind: token_embed(LONG_TEXT, extra_kwargs={"input_type": kind}, truncate_prompt_tokens=-1)
    for kind in ("query", "document")
}


def dimension_precedence() -> dict[str, Case]:
    """Return cases of the origins of the number of dimensions."""
    sizes = with_modules(bare("BertModel", matryoshka_dimensions=[16, 8]))
    any_size = with_modules(bare("BertModel", is_matryoshka=True))
    saved = with_files(SENTENCE, config_sentence_transformers={"truncate_dim": 24})
    by_size = {f"{size}": embed_with(dimensions=size) for size in (8, 10, 32, 33)}
    return {
        "matryoshka_dimensions": calls(sizes, plain=embed(), **by_size),
        "is_matryoshka": calls(any_size, plain=embed(), **by_size),
        "not matryoshka": calls(SENTENCE, plain=embed(), **by_size),
        "matryoshka of an override": calls(SENTENCE, {"hf_overrides": {"is_matryoshka": True}}, **by_size),
        "matryoshka of an override over config.json": calls(
            sizes, {"hf_overrides": {"matryoshka_dimensions": [10]}}, **by_size
        ),
        "matryoshka of config.json over the published model": Case(
            write=with_modules(bare("BertModel", matryoshka_dimensions=[16, 8])),
            folder="mxbai-embed-large-v1",
            calls=by_size,
        ),
        "matryoshka of the published model": Case(write=SENTENCE, folder="mxbai-embed-large-v1", calls=by_size),
        "dimensions of an option": calls(any_size, {"pooler_config": {"dimensions": 12}}, plain=embed(), **by_size),
        "truncate_dim": calls(saved, plain=embed(), **by_size),
        "truncate_dim without Normalize": calls(
            with_files(with_modules(BERT, normalize=False), config_sentence_transformers={"truncate_dim": 24}),
            plain=embed(),
        ),
        "dimensions of an option over truncate_dim": calls(
            saved, {"pooler_config": {"dimensions": 12}}, plain=embed(), **by_size
        ),
    }


def text_precedence() -> dict[str, Case]:
    """Return cases of prompts, chat templates, padding, truncation and lower case."""
    prompts = {"query": "find: ", "document": "it is: "}
    prompted = with_modules(BERT, prompts=prompts)
    default = with_files(prompted, config_sentence_transformers={"default_prompt_name": "query"})
    excluded = with_files(default, **{"1_Pooling__config": {"include_prompt": False}})
    by_name = {
        "plain": embed(),
        "named": embed_with(prompt_name="document"),
        "given": embed_with(prompt="the dog and "),
        "none": embed_with(prompt=""),
        "both": embed_with(prompt="the dog and ", prompt_name="document"),
        "unknown": embed_with(prompt_name="odd"),
        "query": embed(input_type="query"),
        "document": embed(input_type="document"),
    }
    instructions = bare("BertModel", task_instructions={"query": "seek: ", "other": "the other: "})
    padding = {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    padding |= {"pad_type_id": 0, "pad_token": "[PAD]"}
    lower = with_files(SENTENCE, sentence_bert_config={"max_seq_length": 48, "do_lower_case": True})
    cased = with_files(BERT, tokenizer={"normalizer": None})
    messages: Call = ("encode", ([{"messages": [{"role": "user", "content": QUERY}]}],), {"pooling_task": "embed"})
    chat = with_files(QWEN3, tokenizer_config={"chat_template": CHAT})
    sides = {side: embed_with(LONG_TEXT, truncate_prompt_tokens=10, truncation_side=side) for side in ("left", "right")}
    return {
        "prompts of the files": calls(prompted, **by_name),
        "default prompt": calls(default, **by_name),
        "prompt not pooled": calls(excluded, **by_name),
        "no prompts": calls(SENTENCE, **by_name),
        "task_instructions": calls(instructions, query=embed_with(prompt_name="query")),
        "task_instructions over the files": calls(
            with_modules(instructions, prompts=prompts),
            query=embed_with(prompt_name="query"),
            document=embed_with(prompt_name="document"),
            other=embed_with(prompt_name="other"),
        ),
        "prompts of the files over the published model": Case(
            write=prompted, folder="nomic-embed-text-v1", calls=by_name
        ),
        "chat template of the files": calls(chat, messages=messages),
        "chat template of an option": calls(chat, {"chat_template": CHAT.replace("dog", "bird")}, messages=messages),
        "no chat template": calls(QWEN3, messages=messages),
        "padding of tokenizer.json": calls(
            with_files(BERT, tokenizer={"padding": padding}),
            plain=embed(),
            none=embed_with(pad_prompt_tokens=0),
            longer=embed_with(pad_prompt_tokens=30),
        ),
        "padding side": calls(with_files(BERT, tokenizer={"padding": {**padding, "direction": "Left"}}), plain=embed()),
        "truncation side": calls(BERT, plain=embed_with(LONG_TEXT, truncate_prompt_tokens=10), **sides),
        "truncation side of tokenizer_config.json": calls(
            with_files(BERT, tokenizer_config={"truncation_side": "left"}),
            plain=embed_with(LONG_TEXT, truncate_prompt_tokens=10),
            **sides,
        ),
        "on_overflow of an option": calls(BERT, {"on_overflow": "truncate"}, plain=embed(LONG_TEXT)),
        "no special tokens": calls(BERT, plain=embed_with(add_special_tokens=False)),
        "cased tokenizer": calls(with_modules(cased), plain=embed("The OLD Mill")),
        "do_lower_case": calls(
            with_files(with_modules(cased), sentence_bert_config={"max_seq_length": 48, "do_lower_case": True}),
            plain=embed("The OLD Mill"),
        ),
        "do_lower_case of a lower-case tokenizer": calls(lower, plain=embed("The OLD Mill")),
        "ColBERT, lengths of the published layout": calls(stanford(query_maxlen=12, doc_maxlen=16), **LONG_SIDES),
        "ColBERT, markers swapped": calls(
            stanford(query_token_id="[unused1]", doc_token_id="[unused0]"),
            **SIDES,
        ),
    }


def class_precedence() -> dict[str, Case]:
    """Return cases of labels, activations, similarity and dtype."""
    relu, tanh = "torch.nn.modules.activation.ReLU", "torch.nn.modules.activation.Tanh"
    old = with_files(SCORER, config={"sbert_ce_default_activation_function": tanh})
    new = with_files(old, config={"sentence_transformers": {"activation_fn": relu}})
    problem = with_files(new, config={"problem_type": "multi_label_classification"})
    names = with_files(CLASSIFIER, config={"id2label": {"0": "cat", "1": "dog", "2": "bird"}})
    regression = {"problem_type": "regression"}
    half = bare("BertModel", dtype="bfloat16")
    similar = {
        name: with_files(SENTENCE, config_sentence_transformers={"similarity_fn_name": name}) for name in METRICS
    }
    answers = {"classifier_from_token": ["no", "yes"], "method": "from_2_way_softmax"}
    judge = {"architectures": ["Qwen3ForSequenceClassification"], **answers}
    scored = {"score": ("score", (QUERY, TEXT), {})}
    return {
        "labels of the head": Case(write=CLASSIFIER),
        "names of labels": Case(write=names),
        "names of labels of an override": Case(
            write=names, options={"hf_overrides": {"id2label": {"0": "a", "1": "b", "2": "c"}}}
        ),
        "one label": Case(write=SCORER),
        "activation, older key": Case(write=old),
        "activation, newer key over the older": Case(write=new),
        "problem_type over activations": Case(write=problem),
        "problem_type of an override": Case(write=problem, options={"hf_overrides": regression}),
        "problem_type of three labels": Case(
            write=with_files(names, config={"problem_type": "multi_label_classification"})
        ),
        "activation outside torch": Case(
            write=with_files(SCORER, config={"sbert_ce_default_activation_function": "os.x"})
        ),
        "unknown problem_type": Case(write=with_files(SCORER, config={"problem_type": "odd"})),
        "no activation by a parameter": calls(
            names,
            logits=("encode", ([TEXT],), {"pooling_task": "classify", "pooling_params": {"use_activation": False}}),
        ),
        "logits scaled by an option": Case(
            write=SCORER, options={"pooler_config": {"logit_mean": 0.5, "logit_sigma": 2.0}}
        ),
        "answer tokens of an override": Case(
            write=reranker("Qwen3ForCausalLM"), options={"hf_overrides": judge}, calls=scored
        ),
        "answer tokens of an override over the published model": Case(
            write=reranker("Qwen3ForCausalLM"),
            folder="Qwen3-Reranker-0.6B",
            options={"hf_overrides": {"classifier_from_token": ["0", "1"]}},
            calls=scored,
        ),
        "converted to classify": Case(write=bare("Qwen3ForSequenceClassification")),
        "generate runner": Case(write=QWEN3, options={"runner": "generate"}),
        **{f"similarity {name}": calls(write, **scored) for name, write in similar.items()},
        "dtype of config.json": Case(write=half, options={"dtype": "auto"}),
        "dtype of an option": Case(write=half, options={"dtype": "float32"}),
        "dtype of the weights": Case(write=with_files(half, config={"dtype": None}), options={"dtype": "auto"}),
        "bfloat16 of an option": Case(write=BERT, options={"dtype": "bfloat16"}),
        "unknown dtype": Case(write=BERT, options={"dtype": "odd"}),
        "key of an override over config.json": embeds(BERT, hf_overrides={"layer_norm_eps": 0.1}),
        "architecture of an override": embeds(bare("Qwen3ForCausalLM"), hf_overrides={"architectures": ["Qwen3Model"]}),
    }


METRICS = ("cosine", "dot", "euclidean", "manhattan")
GROUPS = {
    "architectures": architectures,
    "published": published,
    "checkpoints": checkpoints,
    "precedence_of_pooling": pooling_precedence,
    "precedence_of_lengths": length_precedence,
    "precedence_of_dimensions": dimension_precedence,
    "precedence_of_texts": text_precedence,
    "precedence_of_classes": class_precedence,
}
