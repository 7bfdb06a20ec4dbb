"""Daft's functions with the provider return the results of `LLM`, on the native runner."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

daft = pytest.importorskip("daft", reason="needs the extra daft: make test-daft")

from daft import Session  # noqa: E402  after the check
from daft.functions import classify_text, embed_image, embed_text  # noqa: E402

from millpond.testing.checkpoints import tiny  # noqa: E402
from millpond_daft import MillpondProvider  # noqa: E402
from millpond_models.testing.dual_encoders import tiny_dual_encoder  # noqa: E402
from millpond_recipes.errors import RecipeError  # noqa: E402

PROVIDER = MillpondProvider(num_workers=1)
TEXTS = ["the mill grinds wheat", None, "a river", "the baker opens at six"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "embed": str(tiny("BertModel", root / "embed")),
        "classify": str(tiny("BertForSequenceClassification", root / "classify", num_labels=3)),
        "clip": str(tiny_dual_encoder("CLIPModel", root / "clip")),
        "tokens": str(tiny("BertForTokenClassification", root / "tokens")),
    }


def embedded(texts, provider=PROVIDER, **options):
    frame = daft.from_pydict({"text": texts})
    return frame.with_column("vector", embed_text(frame["text"], provider=provider, **options))


def vectors_of(frame):
    return [None if vector is None else np.asarray(vector) for vector in frame.to_pydict()["vector"]]


def test_texts_are_embedded_as_by_llm(folders, load):
    frame = embedded(TEXTS, model=folders["embed"])
    assert frame.schema()["vector"].dtype == daft.DataType.embedding(daft.DataType.float32(), 32)
    vectors = vectors_of(frame)
    assert [vector is None for vector in vectors] == [text is None for text in TEXTS]
    llm = load(folders["embed"], batch_invariant=True)
    expected = llm.embed([text for text in TEXTS if text], output="array", use_tqdm=False)
    np.testing.assert_array_equal(np.stack([vector for vector in vectors if vector is not None]), expected)


def test_options_reach_the_recipe_the_model_and_the_function(folders):
    provider = MillpondProvider("mill", num_workers=2, on_overflow="truncate", batch_size=10)
    descriptor = provider.get_text_embedder(
        folders["embed"], 16, prompt="a ", embed_dtype="float16", num_workers=1, concurrency=3, hf_overrides={"a": 1}
    )
    recipe = descriptor.work.recipe
    assert (recipe.prompt, recipe.embed_dtype, recipe.on_overflow, recipe.dimensions) == (
        "a ",
        "float16",
        "truncate",
        16,
    )
    assert recipe.args == {"num_workers": 1, "hf_overrides": {"a": 1}}
    udf = descriptor.get_udf_options()
    assert (udf.batch_size, udf.concurrency, udf.max_retries, udf.on_error) == (10, 3, 0, "raise")
    assert (descriptor.get_provider(), descriptor.get_model()) == ("mill", folders["embed"])
    assert descriptor.get_options() == {**recipe.args, "batch_size": 10, "concurrency": 3}


def test_prompt_and_number_type_change_the_vectors(folders, load):
    (vector,) = vectors_of(embedded(["mill"], model=folders["embed"], prompt="the ", embed_dtype="float16"))
    expected = load(folders["embed"]).embed("mill", prompt="the ", output="array", use_tqdm=False)[0]
    assert vector.dtype == np.float16
    np.testing.assert_allclose(vector, expected, atol=1e-3)


def test_failed_row_is_null_or_raises(folders, caplog):
    texts = ["the mill", "long " * 600]
    with pytest.raises(Exception, match="maximum"):
        embedded(texts, model=folders["embed"]).collect()
    vectors = vectors_of(embedded(texts, model=folders["embed"], on_error="ignore"))
    assert [vector is None for vector in vectors] == [False, True]
    model = PROVIDER.get_text_embedder(folders["embed"], on_error="log").instantiate()
    with caplog.at_level(logging.WARNING, "millpond_daft"):
        assert model.embed_text(texts)[1] is None
    assert "1 of 2 rows failed; the first: " in caplog.text


def test_images_are_embedded_as_by_llm(folders, load):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 24, 20, 3), dtype=np.uint8)
    images = [pixels[0], None, pixels[1], pixels[2]]
    frame = daft.from_pydict({"image": images}).with_column("image", daft.col("image").cast(daft.DataType.image("RGB")))
    frame = frame.with_column("vector", embed_image(frame["image"], provider=PROVIDER, model=folders["clip"]))
    vectors = vectors_of(frame)
    from PIL import Image

    prompts = [{"multi_modal_data": {"image": Image.fromarray(image)}} for image in pixels]
    expected = load(folders["clip"]).embed(prompts, output="array", use_tqdm=False)
    assert vectors[1] is None
    np.testing.assert_allclose(np.stack([vectors[0], *vectors[2:]]), expected, atol=1e-6)


def test_grey_images_are_read():
    from millpond_daft.models import picture

    assert picture(np.zeros((4, 5, 1), np.uint8)).mode == "L"
    assert picture(np.zeros((4, 5, 3), np.uint8)).size == (5, 4)


def classified(folders, model, labels, **options):
    frame = daft.from_pydict({"text": TEXTS})
    label = classify_text(frame["text"], labels, provider=PROVIDER, model=folders[model], **options)
    return frame.with_column("label", label).to_pydict()["label"]


def test_classifier_chooses_among_the_given_classes(folders, load):
    llm = load(folders["classify"])
    probs = {text: llm.classify(text, use_tqdm=False)[0].outputs.probs for text in TEXTS if text}
    names = llm.model_config.labels
    chosen = [names[2], names[0]]
    expected = [None if text is None else max(chosen, key=lambda it: probs[text][names.index(it)]) for text in TEXTS]
    assert classified(folders, "classify", chosen) == expected
    assert classified(folders, "classify", names[1]) == [None if text is None else names[1] for text in TEXTS]


def test_embedding_model_chooses_the_nearest_label(folders, load):
    labels = ["water", "bread", "stone"]
    llm = load(folders["embed"], batch_invariant=True)

    def unit(texts):
        vectors = llm.embed(texts, output="array", use_tqdm=False)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    nearest = (unit([text for text in TEXTS if text]) @ unit([f"it is {it}" for it in labels]).T).argmax(axis=1)
    labelled = classified(folders, "embed", labels, label_template="it is {}")
    assert [label for label in labelled if label is not None] == [labels[i] for i in nearest]
    assert labelled[1] is None


def test_unknown_label_names_the_classes(folders):
    model = PROVIDER.get_text_classifier(folders["classify"]).instantiate()
    with pytest.raises(RecipeError, match=r"Unknown label 'joy' of '.*'\. Available: LABEL_0, LABEL_1, LABEL_2\. For"):
        model.classify_text(["the mill"], ["joy"])


def test_invalid_requests_are_refused_before_the_query_runs(folders):
    with pytest.raises(ValueError, match="no default model: pass model="):
        PROVIDER.get_text_embedder()
    with pytest.raises(ValueError, match=r"Unknown on_error 'skip'\. Available: raise, log, ignore"):
        PROVIDER.get_image_embedder(folders["clip"], on_error="skip")
    with pytest.raises(ValueError, match=r"Unknown option of the model 'dtypes'\. Available: "):
        PROVIDER.get_text_embedder(folders["embed"], dtypes="float32")
    with pytest.raises(RecipeError, match=r"serves neither 'classify' nor 'embed'\. Available: token_classify"):
        PROVIDER.get_text_classifier(folders["tokens"])


def test_descriptor_works_in_another_process(folders, load):
    descriptor = MillpondProvider(num_workers=1).get_text_embedder(folders["embed"])
    received = daft.pickle.loads(daft.pickle.dumps(descriptor))
    (vector,) = received.instantiate().embed_text(["the mill"])
    expected = load(folders["embed"], batch_invariant=True).embed("the mill", output="array", use_tqdm=False)[0]
    np.testing.assert_array_equal(vector, expected)


def test_threads_of_a_process_share_one_loaded_model(folders):
    descriptor = PROVIDER.get_text_embedder(folders["embed"])
    with ThreadPoolExecutor(4) as threads:
        models = [future.result() for future in [threads.submit(descriptor.instantiate) for _ in range(4)]]
        vectors = [future.result()[0] for future in [threads.submit(it.embed_text, ["the mill"]) for it in models]]
    assert len({id(model.runner) for model in models}) == 1
    assert all((vector == vectors[0]).all() for vector in vectors)
    other = PROVIDER.get_text_embedder(folders["embed"], prompt="a ").instantiate()
    assert other.runner is not models[0].runner


def test_provider_may_be_attached_to_a_session(folders):
    with Session() as session:
        session.attach_provider(MillpondProvider("mill", num_workers=1))
        frame = daft.from_pydict({"text": ["the mill"]})
        frame = frame.with_column("vector", embed_text(frame["text"], provider="mill", model=folders["embed"]))
    assert vectors_of(frame)[0].shape == (32,)
