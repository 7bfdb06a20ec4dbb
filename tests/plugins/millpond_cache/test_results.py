"""Cached results: the bits of a computation, for every kind of task, and never those of another model or setting."""

import asyncio
import sys
from itertools import repeat

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from weight_files import replace_weights

from millpond import LLM, AsyncLLM, PoolingParams
from millpond.pipeline.cache import bypass_cache, cache_owner
from millpond.testing.checkpoints import tiny, write_dense, write_sentence_transformers, write_sparse_encoder
from millpond.testing.sentence_transformers import DenseLayer
from millpond.types.errors import CheckpointError
from millpond_cache import results
from millpond_recipes.model_fingerprint import fingerprint_of

TEXTS = ["so it is", "the cat sat on the mat", "a", "so it is"]


def arrays_of(value):
    """Return the arrays and numbers of an output, in order."""
    if isinstance(value, np.ndarray | float | int):
        return [np.asarray(value)]
    if isinstance(value, list | tuple):
        return [array for item in value for array in arrays_of(item)]
    if isinstance(value, dict):
        return [array for item in value.values() for array in arrays_of(item)]
    return arrays_of(vars(value)) if hasattr(value, "__dict__") else []


def bits(outputs):
    return [(array.shape, array.tobytes()) for output in outputs for array in arrays_of(output.outputs)]


def counts(llm):
    return llm.cache.hits, llm.cache.misses


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    names = ("BertModel", "BertForSequenceClassification", "CLIPModel")
    others = {
        "scorer": tiny("BertForSequenceClassification", root / "scorer", num_labels=1),
        "sparse": tiny("BertForMaskedLM", root / "sparse"),
    }
    write_sparse_encoder(others["sparse"])
    return {name: str(folder) for name, folder in others.items()} | {
        name: str(tiny(name, root / name)) for name in names
    }


def pairs(llm):
    return llm.score("so", TEXTS, use_tqdm=False)


CALLS = {
    "embed": ("BertModel", lambda llm: llm.embed(TEXTS, use_tqdm=False)),
    "raw embeddings": (
        "BertModel",
        lambda llm: llm.embed(TEXTS, pooling_params=PoolingParams(use_activation=False), use_tqdm=False),
    ),
    "token vectors": ("BertModel", lambda llm: llm.encode(TEXTS, pooling_task="token_embed", use_tqdm=False)),
    "scores of embeddings": ("BertModel", pairs),
    "late chunks": ("BertModel", lambda llm: llm.embed_chunks("so it is the cat " * 5, chunk_tokens=4, use_tqdm=False)),
    "several results": (
        "BertModel",
        lambda llm: llm.represent(TEXTS, [{"task": "embed"}, {"task": "token_embed"}], use_tqdm=False),
    ),
    "classes": ("BertForSequenceClassification", lambda llm: llm.classify(TEXTS, use_tqdm=False)),
    "pairs": ("scorer", pairs),
    "sparse vectors": ("sparse", lambda llm: llm.embed_sparse(TEXTS, use_tqdm=False)),
    "images": (
        "CLIPModel",
        lambda llm: llm.embed(
            [{"multi_modal_data": {"image": Image.new("RGB", (32, 32), color)}} for color in ("red", "blue")],
            use_tqdm=False,
        ),
    ),
    "texts of an image model": ("CLIPModel", lambda llm: llm.embed(TEXTS, use_tqdm=False)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_hit_has_the_bits_of_a_computation(name, folders, load, tmp_path):
    architecture, call = CALLS[name]
    folder = folders[architecture]
    expected = call(load(folder, batch_invariant=True))
    with LLM(folder, cache=tmp_path, batch_invariant=True, num_workers=1) as first:
        assert bits(call(first)) == bits(expected)
        computed = first.cache.misses
        assert first.cache.hits == 0
    with LLM(folder, cache=tmp_path, batch_invariant=True, num_workers=1) as second:
        outputs = call(second)
    assert bits(outputs) == bits(expected)
    assert counts(second) == (computed, 0)
    assert computed > 0
    assert [it.prompt_token_ids for it in outputs] == [it.prompt_token_ids for it in expected]


def test_hits_and_computed_results_keep_their_order(folders, load):
    plain, cached = (load(folders["BertModel"], batch_invariant=True, **more) for more in ({}, {"cache": "memory"}))
    texts = [f"text number {number % 150}" for number in range(400)]
    cached.embed(texts[20:90:3], use_tqdm=False)
    before = cached.cache.hits
    assert bits(cached.embed(texts, use_tqdm=False)) == bits(plain.embed(texts, use_tqdm=False))
    assert cached.cache.hits - before == len(texts[20:90:3])


@pytest.fixture(scope="module")
def models(folders):
    with (
        LLM(folders["BertModel"], batch_invariant=True, num_workers=1) as plain,
        LLM(folders["BertModel"], batch_invariant=True, num_workers=1, cache="memory:40KB") as cached,
    ):
        yield plain, cached


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("abc dé\n中", max_size=12), min_size=1, max_size=6), st.sampled_from([None, True, False]))
def test_any_texts_have_the_same_bits(models, texts, activation):
    plain, cached = models
    params = PoolingParams(use_activation=activation)
    expected = bits(plain.embed(texts, pooling_params=params, use_tqdm=False))
    for _ in range(2):
        assert bits(cached.embed(texts, pooling_params=params, use_tqdm=False)) == expected


def test_changing_a_result_does_not_change_the_cache(folders, load):
    llm = load(folders["BertModel"], cache="memory")
    (first,) = llm.embed("so it is", use_tqdm=False)
    expected = first.outputs.array.copy()
    for _ in range(3):
        (output,) = llm.embed("so it is", use_tqdm=False)
        assert np.array_equal(output.outputs.array, expected)
        output.outputs.array[:] = 7


def test_prompts_and_templates_are_part_of_the_tokens(folders, load):
    llm = load(folders["BertModel"], cache="memory")
    llm.embed("so it is", use_tqdm=False)
    llm.embed("it is", prompt="so ", use_tqdm=False)
    assert counts(llm) == (1, 1)


@pytest.mark.parametrize(
    "params",
    [PoolingParams(use_activation=False), PoolingParams(truncate_prompt_tokens=3)],
)
def test_other_parameters_are_other_entries(folders, load, params):
    llm = load(folders["BertModel"], cache="memory")
    llm.embed("so it is the cat", use_tqdm=False)
    llm.embed("so it is the cat", pooling_params=params, use_tqdm=False)
    assert counts(llm) == (0, 2)


SETTINGS = [
    {"pooler_config": {"pooling_type": "MEAN"}},
    {"batch_invariant": True},
    {"quantization": "int8"},
    {"kernels": {"attention": "reference"}},
    {"hf_overrides": {"layer_norm_eps": 0.1}},
]


@pytest.mark.parametrize("other", SETTINGS, ids=lambda other: next(iter(other)))
def test_models_with_other_settings_share_no_entry(folders, tmp_path, other):
    for arguments, expected in (({"pooler_config": {"pooling_type": "CLS"}}, (0, 2)), (other, (0, 2)), (other, (2, 0))):
        with LLM(folders["BertModel"], cache=tmp_path, num_workers=1, **arguments) as llm:
            llm.embed(["so it is", "a cat"], use_tqdm=False)
            assert counts(llm) == expected


def test_results_of_other_instruction_sets_share_no_entry(folders, tmp_path, monkeypatch):
    """Models in int8 differ by far more than rounding between processors with and without VNNI."""
    monkeypatch.delenv("MILLPOND_CPU_LEVEL", raising=False)
    for level, expected in (("", (0, 1)), ("avx2", (0, 1)), ("avx2", (1, 0)), ("", (1, 0))):
        monkeypatch.setenv("MILLPOND_CPU_LEVEL", level)
        with LLM(folders["BertModel"], cache=tmp_path, num_workers=1) as llm:
            llm.embed("so it is", use_tqdm=False)
            assert counts(llm) == expected


def test_a_changed_byte_of_the_weights_is_another_model(tmp_path):
    folder = tiny("BertModel", tmp_path / "model")
    weights = folder / "model.safetensors"
    vectors = []
    for _ in range(2):
        with LLM(str(folder), cache=tmp_path / "cache", num_workers=1) as llm:
            vectors.append(llm.embed("so it is", output="array", use_tqdm=False))
            assert counts(llm) == (0, 1)
        content = bytearray(weights.read_bytes())
        content[-2] ^= 0x08
        weights.write_bytes(content)


@pytest.mark.parametrize("kind", ["linked", "hidden"])
def test_a_changed_module_outside_of_plain_folders_is_another_model(tmp_path, kind):
    """A folder that models share by a link, or one whose name begins with a dot."""
    folder = tiny("BertModel", tmp_path / "model")
    layer = DenseLayer(in_features=32, out_features=8)
    write_sentence_transformers(folder, dense=[layer])
    module = folder / "2_Dense"
    if kind == "linked":
        module = module.rename(tmp_path / "shared")
        (folder / "2_Dense").symlink_to(module)
        (module / "parent").symlink_to(folder)  # a cycle
    else:
        module = module.rename(folder / ".dense")
        modules = folder / "modules.json"
        modules.write_text(modules.read_text(encoding="utf-8").replace("2_Dense", ".dense"), encoding="utf-8")
    for seed in (1, 2):
        write_dense(module, layer, seed=seed)
        with LLM(str(folder), cache=tmp_path / "cache", num_workers=1) as llm:
            llm.embed("so it is", use_tqdm=False)
            assert counts(llm) == (0, 1)


def test_a_model_that_is_replaced_while_it_is_hashed_is_refused(tmp_path, monkeypatch):
    """The old weights are in memory: their vectors would be stored under the hash of the new ones."""
    folder = tiny("BertModel", tmp_path / "model")

    def hash_late(*arguments):
        replace_weights(folder)
        return fingerprint_of(*arguments)

    monkeypatch.setattr(results, "fingerprint_of", hash_late)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has changed since .* was loaded"):
        LLM(str(folder), cache=tmp_path / "cache", num_workers=1)


def test_a_copy_of_a_model_is_the_same_model(tmp_path):
    for name in ("one", "two"):
        with LLM(str(tiny("BertModel", tmp_path / name)), cache=tmp_path / "cache", num_workers=1) as llm:
            llm.embed("so it is", use_tqdm=False)
    assert counts(llm) == (1, 0)


def test_concurrent_calls_share_the_cache(folders, load):
    expected = bits(load(folders["BertModel"], batch_invariant=True).embed(TEXTS * 5, use_tqdm=False))

    async def run():
        async with AsyncLLM(folders["BertModel"], cache="memory", batch_invariant=True, num_workers=1) as llm:
            await llm.embed(TEXTS)
            outputs = await asyncio.gather(*(llm.embed(TEXTS * 5) for _ in range(8)))
            return counts(llm), [bits(each) for each in outputs]

    seen, outputs = asyncio.run(run())
    assert seen == (3 * 8, 3)
    assert outputs == [expected] * 8


def test_owners_share_no_entry(folders):
    async def run():
        seen = []
        async with AsyncLLM(folders["BertModel"], cache="memory", num_workers=1) as llm:
            for owner in (b"one", b"two", None, b"one", None):
                cache_owner.set(owner)
                before = llm.cache.hits
                await llm.embed("so it is")
                seen.append(llm.cache.hits - before)
            bypass_cache.set(True)
            await llm.embed("so it is")
        return seen, counts(llm)

    assert asyncio.run(run()) == ([0, 0, 0, 1, 1], (2, 3))


def test_a_model_may_declare_that_its_results_are_not_cached(folders, plugin_manager):
    from dataclasses import replace

    from millpond_models.encoders.bert.model import BertModel

    class Random(BertModel):
        cacheable = False

    spec = plugin_manager.registry.architectures.get("BertModel").spec
    plugin_manager.register(replace(spec, target=Random))
    with LLM(folders["BertModel"], cache="memory", plugins=plugin_manager, num_workers=1) as llm:
        llm.embed(["so it is"] * 2, use_tqdm=False)
        llm.embed("so it is", use_tqdm=False)
    assert counts(llm) == (0, 0)


def test_components_of_this_process_are_not_cached_on_disk(folders, plugin_manager, tmp_path):
    from millpond.types.errors import InvalidInputError

    spec = plugin_manager.registry.poolers.get("MEAN").spec
    plugin_manager.register(spec)
    arguments = {"plugins": plugin_manager, "pooler_config": {"pooling_type": "MEAN"}, "num_workers": 1}
    with pytest.raises(InvalidInputError, match=r"pooler 'MEAN' of plugin .* was registered at run time and does"):
        LLM(folders["BertModel"], cache=tmp_path, **arguments)
    with LLM(folders["BertModel"], cache="memory", **arguments) as llm:
        llm.embed(["so it is"], use_tqdm=False)
        llm.embed(["so it is"], use_tqdm=False)
    assert counts(llm) == (1, 1)


def raising(error):
    raise error


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: raising(ConnectionError("gone")), "ConnectionError: gone"),
        (lambda: raising(SystemExit(4)), "SystemExit: 4"),
        (lambda: None, "TypeError: 'NoneType' object is not iterable"),
        (lambda: "text", "TypeError: get must return one value for each key, of type bytes, or None"),
        (lambda: repeat(b""), "TypeError: get must return one value for each key, of type bytes, or None"),
    ],
)
def test_a_cache_that_fails_is_reported_once_and_changes_no_result(folders, plugin_manager, caplog, answer, message):
    from millpond_cache.kinds import CacheSpec

    class Broken:
        def get(self, keys):
            return answer()

        put = close = get

    plugin_manager.register(CacheSpec(name="broken", target=lambda options: Broken(), persistent=False))
    with LLM(folders["BertModel"], cache="broken", plugins=plugin_manager, num_workers=1) as llm:
        for _ in range(3):
            assert len(llm.embed(TEXTS, use_tqdm=False)) == 4
    assert counts(llm) == (0, 9)
    messages = [record.message for record in caplog.records if "broken" in record.message]
    assert [message.partition(" failed to ")[2] for message in messages][:1] == [f"read: {message}"]
    assert len(messages) <= 3, "one message for reading, writing and closing"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="engine processes need Linux")
def test_engine_processes_share_the_entries_of_a_single_process(folders, tmp_path):
    outputs = []
    for size, expected in ((2, (0, 3)), (1, (3, 0)), (2, (3, 0))):
        arguments = {"cache": tmp_path, "batch_invariant": True, "num_workers": 1, "data_parallel_size": size}
        with LLM(folders["BertModel"], **arguments) as llm:
            outputs.append(bits(llm.embed(TEXTS, use_tqdm=False)))
            assert counts(llm) == expected
    assert outputs[0] == outputs[1] == outputs[2]
