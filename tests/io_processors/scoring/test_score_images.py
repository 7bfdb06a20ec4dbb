"""Scores of texts and images with dual encoders, vision-language embedders and cross-encoders."""

import asyncio
import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from millpond import LLM, AsyncLLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.testing.pictures import picture, url_of
from millpond_io.images.inputs import ImageInputs
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_transformers.testing.vision_language import qwen_vl, randomised, write_vision_language

MARK = "<|vision_start|><|image_pad|><|vision_end|>"
TEMPLATE = (
    "{% for role in ['document', 'query'] %}{% for m in messages if m.role == role %}"
    "<|im_start|>{{ role }}: {{ m.content }}<|im_end|>{% endfor %}{% endfor %}"
)


POND, MILL = picture(60, 60), picture(60, 120, 1)


def pil(image):
    return {"type": "image_pil", "image_pil": image}


def part(url):
    return {"type": "image_url", "image_url": {"url": url}}


def said(text):
    return {"type": "text", "text": text}


def content(*parts):
    return {"content": list(parts)}


def of(image, text=None):
    return {"multi_modal_data": {"image": image}, **({} if text is None else {"prompt": text})}


def qwen(folder, num_labels=None):
    """Write a tiny Qwen2-VL, with a classification head if ``num_labels`` is not None."""
    variant = qwen_vl("qwen2_vl")
    config = transformers.Qwen2VLConfig(**variant.config)
    write_vision_language(randomised(transformers.Qwen2VLForConditionalGeneration(config)), variant, folder)
    if num_labels is not None:
        tensors = load_file(folder / "model.safetensors")
        tensors["score.weight"] = torch.randn(num_labels, 32, generator=torch.Generator().manual_seed(0))
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, "num_labels": num_labels}))
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return tiny_dual_encoder("CLIPModel", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(clip_folder, tmp_path_factory):
    with LLM(str(clip_folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def vlm_folder(tmp_path_factory):
    return qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def vlm(vlm_folder):
    with LLM(str(vlm_folder), num_workers=1) as llm:
        yield llm


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    return qwen(tmp_path_factory.mktemp("judge"), num_labels=1)


@pytest.fixture(scope="module")
def judge(judge_folder):
    with LLM(str(judge_folder), num_workers=1, convert="classify") as llm:
        yield llm


def scores(llm, queries, documents, **more):
    return [output.outputs.score for output in llm.score(queries, documents, use_tqdm=False, **more)]


def cosines(llm, queries, documents):
    """The same of prompts, by their vectors."""
    left = [output.outputs.array for output in llm.embed(queries, use_tqdm=False)]
    right = [output.outputs.array for output in llm.embed(documents, use_tqdm=False)]
    left = left * len(right) if len(left) == 1 else left
    pairs = zip(left, right, strict=True)
    return pytest.approx([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs], abs=1e-5)


# --- dual encoders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CLIPModel", "SiglipModel"])
def test_texts_and_images_in_every_form(name, tmp_path):
    path = tmp_path / "a.png"
    POND.save(path)
    with LLM(str(tiny_dual_encoder(name, tmp_path)), num_workers=1, allowed_local_media_path=tmp_path) as llm:
        forms = [
            content(pil(POND)),
            content(part(url_of(POND))),
            content({"type": "image_url", "image_url": url_of(POND)}),
            content(part(path.as_uri())),
            content(pil(path)),
            content(said(""), pil(np.asarray(POND))),
            {"image": url_of(POND)},
            {"image": POND},
        ]
        documents = ["water", *forms, {"text": "a mill", "image": None}, content(said("a mill"))]
        expected = cosines(llm, ["the river"], ["water", *[of(POND)] * len(forms), "a mill", "a mill"])
        assert scores(llm, "the river", documents) == expected
        assert scores(llm, {"image": MILL}, [content(pil(POND)), "water"]) == cosines(
            llm, [of(MILL)], [of(POND), "water"]
        )
        queries, documents = ["a", {"image": POND}], [{"image": MILL}, {"text": "b"}]
        assert scores(llm, queries, documents) == cosines(llm, ["a", of(POND)], [of(MILL), "b"])


def test_a_text_and_an_image_of_two_towers(clip, clip_folder):
    both = content(said("water"), pil(POND))
    with pytest.raises(InvalidInputError, match="document: CLIP accepts text-only or image-only inputs") as caught:
        scores(clip, "the river", ["a", both])
    assert (caught.value.index, caught.value.parameter) == (1, "data_2")
    mean = PoolingParams(extra_kwargs={"mixed_modality": "mean"})
    (vector,) = clip.embed([of(POND, "water")], pooling_params=mean, use_tqdm=False)
    (query,) = clip.embed(["the river"], use_tqdm=False)
    expected = pytest.approx(vector.outputs.array @ query.outputs.array, abs=1e-5)
    assert scores(clip, "the river", both, pooling_params=mean) == [expected]
    with LLM(str(clip_folder), num_workers=1, mixed_modality="mean") as other:
        assert scores(other, "the river", both) == [expected]


def test_patches_meet_by_maxsim(clip_folder):
    with LLM(str(clip_folder), num_workers=1, pooler_config={"task": "token_embed"}) as llm:
        outputs = llm.encode(["the river", of(POND)], pooling_task="token_embed", use_tqdm=False)
        tokens, patches = (output.outputs.data.numpy() for output in outputs)
        expected = pytest.approx((tokens @ patches.T).max(axis=1).sum(), rel=1e-5)
        assert scores(llm, "the river", {"image": POND}) == [expected]


def test_tokens_of_images_are_counted(clip):
    text, image = clip.embed(["water", of(POND)], use_tqdm=False)
    (output,) = clip.score("water", {"image": POND}, use_tqdm=False)
    pad = clip.pipeline.ctx.tokenizer.pad_token_id
    assert output.prompt_token_ids == [*text.prompt_token_ids, pad, *image.prompt_token_ids]


def test_an_image_is_read_once_for_all_its_documents(clip, monkeypatch):
    read, seen = ImageInputs.read, []

    def counted(self, value, use):
        seen.append(value)
        return read(self, value, use)

    monkeypatch.setattr(ImageInputs, "read", counted)
    url, same = url_of(POND), {"image": MILL}
    actual = scores(clip, "water", [{"image": url}, content(part(url)), same, {"image": MILL}, {"image": MILL.copy()}])
    assert len(seen) == 3  # the copy might have been changed
    assert actual[0] == actual[1]
    assert actual[2] == actual[3] == pytest.approx(actual[4], abs=1e-6)
    seen.clear()
    scores(clip, "water", content(said("a mill"), pil(POND)), max_tokens_per_doc=1, pooling_params=mean_of_both())
    assert len(seen) == 1


def mean_of_both():
    return PoolingParams(extra_kwargs={"mixed_modality": "mean"})


def test_an_invalid_image_does_not_affect_others(clip):
    damaged = {"image": "data:image/png;base64,AAAA"}
    documents = ["water", damaged, {"image": POND}, content(part("http://localhost/a.png")), {"image": "/etc/passwd"}]
    outputs = clip.score("the river", documents, use_tqdm=False, on_error="return")
    assert [output.error is None for output in outputs] == [True, False, True, False, False]
    assert [output.error.index for output in outputs if output.error] == [1, 3, 4]
    assert "document: the image cannot be read: it is damaged" in str(outputs[1].error)
    assert "may not be fetched from the host 'localhost'" in str(outputs[3].error)
    assert "must begin with data:image" in str(outputs[4].error)
    expected = cosines(clip, ["the river"], ["water", of(POND)])
    assert [outputs[0].outputs.score, outputs[2].outputs.score] == expected
    outputs = clip.score([damaged, "a"], ["b", "c"], use_tqdm=False, on_error="return")
    assert [output.error is None for output in outputs] == [False, True]
    assert outputs[0].error.parameter == "data_1"


def test_online(clip_folder, clip):
    async def ask():
        async with AsyncLLM(str(clip_folder), num_workers=1) as llm:
            return await llm.score("the river", ["water", {"image": url_of(POND)}])

    scores = [output.outputs.score for output in asyncio.run(ask())]
    assert scores == cosines(clip, ["the river"], ["water", of(POND)])


# --- text and image in one sequence -----------------------------------------------------------------------------------


def test_parts_keep_their_order(vlm):
    parts = content(said("a pond"), pil(POND), said("and a mill"), part(url_of(MILL)))
    whole = of([POND, MILL], f"a pond\n{MARK}\nand a mill\n{MARK}")
    expected = cosines(vlm, ["a river"], [whole, of(POND, MARK), "a pond"])
    assert scores(vlm, "a river", [parts, {"image": POND}, content(said("a pond"))]) == expected
    (output,) = vlm.score("a river", parts, use_tqdm=False)
    counts = [one.num_prompt_tokens for one in vlm.embed(["a river", whole], use_tqdm=False)]
    assert output.num_prompt_tokens == sum(counts) + 1


def test_image_marks_written_by_the_caller_keep_their_positions(vlm):
    document = content(pil(POND), pil(MILL), said(f"{MARK} a pond {MARK}"))
    expected = cosines(vlm, ["a river"], [of([POND, MILL], f"{MARK} a pond {MARK}")])
    assert scores(vlm, "a river", document) == expected
    with pytest.raises(InvalidInputError, match="document: the text has 3 image placeholders"):
        scores(vlm, "a river", content(pil(POND), said(f"{MARK} a pond {MARK}")))
    with pytest.raises(InvalidInputError, match="query: the prompt contains an image placeholder"):
        scores(vlm, MARK, "a river")


def test_texts_with_images_are_truncated(vlm):
    long = content(said("a pond by the mill"), pil(POND), said("and more"))
    expected = cosines(vlm, ["a ri"], [of(POND, f"a pon\n{MARK}")])
    assert scores(vlm, "a river", long, max_tokens_per_doc=5, max_tokens_per_query=4) == expected
    (output,) = vlm.score("a river", long, use_tqdm=False, max_tokens_per_doc=5, max_tokens_per_query=4)
    assert output.num_dropped_tokens == 3 + 13 + 8
    lone = content(said("a \ud800 pond"), pil(POND))
    with pytest.raises(InvalidInputError, match="document: the text has a lone surrogate"):
        scores(vlm, "a river", lone, max_tokens_per_doc=3)
    with pytest.raises(InvalidInputError, match="document: the prompt has 13 tokens with its images; the maximum is 8"):
        scores(vlm, "a river", content(said("a pond"), pil(POND)), truncate_prompt_tokens=8)


# --- cross-encoders ---------------------------------------------------------------------------------------------------


def logits(judge, prompts):
    outputs = judge.classify(prompts, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    return pytest.approx([output.outputs.probs[0] for output in outputs], abs=1e-4)


def test_a_pair_is_written_by_the_template(judge):
    query = content(said("which mill"), pil(POND))
    documents = ["by the river", content(pil(MILL), said("is old")), {"image": MILL}]
    ends = "<|im_end|><|im_start|>query: which mill" + MARK + "<|im_end|>"
    written = [f"by the river{ends}", f"{MARK}is old{ends}", f"{MARK}{ends}"]
    prompts = [
        of(images, f"<|im_start|>document: {text}")
        for images, text in zip(([POND], [MILL, POND], [MILL, POND]), written, strict=True)
    ]
    bare = PoolingParams(use_activation=False)
    outputs = judge.score(query, documents, chat_template=TEMPLATE, pooling_params=bare, use_tqdm=False)
    assert [output.outputs.score for output in outputs] == logits(judge, prompts)
    ids = [output.prompt_token_ids for output in judge.classify(prompts, use_tqdm=False)]
    assert [output.prompt_token_ids for output in outputs] == ids
    texts = judge.score("which mill", "by the river", chat_template=TEMPLATE, pooling_params=bare, use_tqdm=False)
    (alone,) = judge.score("which mill", {"image": POND}, chat_template=TEMPLATE, pooling_params=bare, use_tqdm=False)
    assert texts[0].outputs.score != alone.outputs.score


def test_image_tokens_of_the_caller_keep_their_positions(judge):
    bare = PoolingParams(use_activation=False)
    document = content(pil(MILL), said(f"this {MARK} is old"))
    actual = scores(judge, {"image": POND}, document, chat_template=TEMPLATE, pooling_params=bare)
    text = f"<|im_start|>document: this {MARK} is old<|im_end|><|im_start|>query: {MARK}<|im_end|>"
    assert actual == logits(judge, [of([MILL, POND], text)])


def test_texts_of_pairs_are_cut(judge):
    document = content(said("an old mill"), pil(POND))
    more = {"chat_template": TEMPLATE, "pooling_params": PoolingParams(use_activation=False)}
    actual = scores(judge, "which mill", document, max_tokens_per_doc=6, max_tokens_per_query=5, **more)
    text = f"<|im_start|>document: an old{MARK}<|im_end|><|im_start|>query: which<|im_end|>"
    assert actual == logits(judge, [of(POND, text)])


def test_the_template_of_the_model(judge_folder, judge):
    with LLM(str(judge_folder), num_workers=1, convert="classify", chat_template=TEMPLATE) as llm:
        expected = scores(judge, "which mill", {"image": POND}, chat_template=TEMPLATE)
        assert scores(llm, "which mill", {"image": POND}) == pytest.approx(expected, abs=1e-6)


def test_a_pair_without_a_template_is_refused(judge):
    outputs = judge.score("which mill", ["by the river", {"image": POND}], use_tqdm=False, on_error="return")
    assert outputs[0].error is None
    assert "pairs with images require a template" in str(outputs[1].error)
    for template in ("{{ messages[0].content }}", "{{ messages[-1].content * 2 }}"):
        with pytest.raises(
            InvalidInputError, match="must write the contents of the query and of the document exactly once"
        ):
            scores(judge, "which mill", {"image": POND}, chat_template=template)


def test_the_placeholder_of_an_image_is_refused_in_a_text(judge):
    for template in (None, TEMPLATE):
        with pytest.raises(InvalidInputError, match="contains an image placeholder"):
            scores(judge, f"which {MARK}", "by the river", chat_template=template)
    with pytest.raises(InvalidInputError, match="the text has 2 image placeholders"):
        scores(judge, f"which {MARK}", {"image": POND}, chat_template=TEMPLATE)


# --- the tasks of a model with a head ---------------------------------------------------------------------------------


def test_classes_of_texts_with_images(tmp_path):
    message = {"messages": [{"role": "user", "content": [said("a mill"), pil(POND)]}]}
    written = of(POND, f"<|im_start|>user\na mill{MARK}<|im_end|>\n")
    with LLM(str(qwen(tmp_path, num_labels=3)), num_workers=1, convert="classify") as llm:
        by_message, by_prompt, text = llm.classify([message, written, "a mill"], use_tqdm=False)
        assert by_message.prompt_token_ids == by_prompt.prompt_token_ids
        np.testing.assert_allclose(by_message.outputs.probs, by_prompt.outputs.probs, atol=1e-6)
        assert np.sum(by_message.outputs.probs) == pytest.approx(1, abs=1e-5)
        assert np.abs(np.subtract(by_message.outputs.probs, text.outputs.probs)).max() > 1e-3
        (rows,) = llm.encode([message], pooling_task="token_classify", use_tqdm=False)
        assert rows.outputs.data.shape == (by_message.num_prompt_tokens, 3)
        np.testing.assert_allclose(rows.outputs.data[-1], by_message.outputs.probs, atol=1e-5)
        (several,) = llm.represent([message], [{"task": "classify"}, {"task": "token_classify"}], use_tqdm=False)
        np.testing.assert_allclose(several.outputs.results[0].array, by_message.outputs.probs, atol=1e-5)
        np.testing.assert_allclose(several.outputs.results[1].array, rows.outputs.data, atol=1e-5)


def test_several_results_of_a_text_with_an_image(vlm):
    whole = of(POND, f"a mill {MARK}")
    (output,) = vlm.represent([whole], [{"task": "embed"}, {"task": "token_embed"}], use_tqdm=False)
    (vector,) = vlm.embed([whole], use_tqdm=False)
    (rows,) = vlm.encode([whole], pooling_task="token_embed", use_tqdm=False)
    np.testing.assert_allclose(output.outputs.results[0].array, vector.outputs.array, atol=1e-5)
    np.testing.assert_allclose(output.outputs.results[1].array, rows.outputs.data, atol=1e-5)
    with pytest.raises(InvalidInputError, match=r"embed_chunks takes texts.* 'multi_modal_data'"):
        vlm.embed_chunks([whole], chunk_tokens=4)
    with pytest.raises(InvalidInputError, match="contains an image placeholder"):
        vlm.embed_chunks([f"a mill {MARK}"], chunk_tokens=4)


# --- models of text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BertModel", "BertForSequenceClassification"])
def test_a_model_of_text_refuses_images(name, tmp_path):
    settings = {"num_labels": 1} if name != "BertModel" else {}
    with LLM(str(tiny(name, tmp_path, **settings)), num_workers=1) as llm:
        for item in (
            content(pil(POND)),
            content(said("a"), part(url_of(POND))),
            {"image": POND},
            {"text": "a", "image": POND},
        ):
            with pytest.raises(InvalidInputError, match=f"MultiModalParam is not supported for {name}") as caught:
                scores(llm, "a", ["b", item])
            assert caught.value.parameter == "data_2"
        assert scores(llm, "a", {"text": "b", "image": None}) == scores(llm, "a", "b")


@pytest.mark.parametrize("text", ["water", ""])
def test_a_text_and_an_image_in_one_object_are_both_read(vlm, judge, text):
    parts = [pil(POND), said(text)] if text else [pil(POND)]
    for llm in (vlm, judge):
        more = {"chat_template": TEMPLATE} if llm is judge else {}
        both = scores(llm, "the river", {"text": text, "image": POND}, **more)
        assert both == scores(llm, "the river", content(*parts), **more)
        assert both != scores(llm, "the river", "water", **more)
        assert both != scores(llm, "the river", {"text": "a mill", "image": POND}, **more)


@pytest.mark.parametrize("more", [{"text": "a"}, {"image": POND}], ids=["text", "image"])
def test_a_content_beside_a_text_or_an_image_is_refused(vlm, more):
    with pytest.raises(InvalidInputError, match="'content' holds all parts") as caught:
        scores(vlm, "the river", content(said("water")) | more)
    assert caught.value.parameter == "data_2"


def test_a_dual_encoder_refuses_a_text_and_an_image_in_one_object(clip):
    with pytest.raises(InvalidInputError, match="CLIP accepts text-only or image-only inputs"):
        scores(clip, "the river", {"text": "water", "image": POND})
    mean = PoolingParams(extra_kwargs={"mixed_modality": "mean"})
    both = clip.score("the river", {"text": "water", "image": POND}, pooling_params=mean)
    same = clip.score("the river", content(said("water"), pil(POND)), pooling_params=mean)
    assert both[0].outputs == same[0].outputs


@pytest.mark.parametrize(
    "value",
    [
        content({"type": "video_url", "video_url": {"url": "x"}}),
        content({"type": "image_url"}),
        content({"type": "image_url", "image_url": {"path": "x"}}),
        content(POND),
        content(pil(7)),
        {"content": []},
        {"content": 7},
        {"image": None},
        POND,
    ],
)
def test_invalid_content_is_refused(clip, value):
    with pytest.raises(InvalidInputError):
        scores(clip, "water", [value])
