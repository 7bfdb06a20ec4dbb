"""``--image`` of ``embed``, ``rerank`` and ``score``: the results of ``LLM``, and errors with the name of the file."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing.pictures import picture
from millpond_cli import row_runners
from millpond_command import cli
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_models.testing.phi3_vision import tiny_phi3_vision
from millpond_transformers.testing.vision_language import tiny_vision_language


def embed(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["embed", *map(str, arguments)], input=stdin)


def vectors_of(done):
    assert done.exit_code == 0, done.stderr
    return np.array([json.loads(line)["embedding"] for line in done.stdout.splitlines()], dtype=np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_dual_encoder("CLIPModel", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / name for name in ("a.png", "b c.jpg", "d.webp")]
    for seed, path in enumerate(paths):
        picture(40, 30, seed).save(path)
    return paths


@pytest.fixture(scope="module")
def expected(model, files):
    with LLM(str(model), num_workers=1) as llm:
        outputs = llm.embed([{"multi_modal_data": {"image": path}} for path in files], use_tqdm=False)
    return np.stack([output.outputs.array for output in outputs])


def test_files_are_named_by_arguments_lines_and_rows(model, files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(row_runners, "IMAGES_PER_CALL", 2)
    assert np.allclose(vectors_of(embed("-m", model, "--image", *files)), expected, atol=1e-6)
    lines = "".join(f"{path}\n" for path in files)
    assert np.allclose(vectors_of(embed("-m", model, "--image", stdin=lines)), expected, atol=1e-6)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"file": str(path)}) + "\n" for path in files), encoding="utf-8")
    done = embed("-m", model, "--image", "-i", rows, "--text-key", "file", "-o", tmp_path / "found.npy")
    assert done.exit_code == 0, done.stderr
    assert np.allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-6)


def test_a_model_of_texts_with_images_accepts_image_files(files, tmp_path):
    folder = tiny_phi3_vision(tmp_path / "VLM2Vec-Full")
    with LLM(str(folder), num_workers=1) as llm:
        outputs = llm.embed([{"multi_modal_data": {"image": path}} for path in files], use_tqdm=False)
    expected = np.stack([output.outputs.array for output in outputs])
    assert np.allclose(vectors_of(embed("-m", folder, "--image", *files)), expected, atol=1e-6)


def test_a_missing_file_is_reported(model, files, expected):
    done = embed("-m", model, "--image", files[0], "no-such.png")
    assert done.exit_code == 1
    assert "no-such.png cannot be read: No such file or directory" in done.stderr
    done = embed("-m", model, "--image", "--on-error", "skip", "no-such.png", files[0])
    assert done.exit_code == 3
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert "cannot be read" in records[0]["error"]
    assert np.allclose(records[1]["embedding"], expected[0], atol=1e-6)


def test_images_have_no_sparse_vectors(files):
    done = embed("--image", "--sparse", files[0])
    assert done.exit_code == 2
    assert "--image and --sparse" in done.stderr


@pytest.mark.slow
def test_a_text_beside_each_image(files, tmp_path):
    folder = tiny_vision_language("qwen2_vl", tmp_path / "qwen")
    with LLM(str(folder), num_workers=1) as llm:
        prompts = [{"prompt": "a mill", "multi_modal_data": {"image": path}} for path in files]
        expected = np.stack([output.outputs.array for output in llm.embed(prompts, use_tqdm=False)])
    assert np.allclose(
        vectors_of(embed("-m", folder, "--image", "--image-text", "a mill", *files)), expected, atol=1e-6
    )
    done = embed("-m", folder, "--image-text", "a mill", "a pond")
    assert done.exit_code == 2
    assert "--image-text requires --image" in done.stderr


@pytest.mark.parametrize("command", ["rerank", "score"])
def test_documents_may_be_files_of_images(model, files, command, monkeypatch):
    monkeypatch.setattr(row_runners, "IMAGES_PER_CALL", 2)
    with LLM(str(model), num_workers=1) as llm:
        outputs = llm.score("a mill", [{"image": path} for path in files], use_tqdm=False)
    expected = [output.outputs.score for output in outputs]
    asked = [command, "-m", str(model), "--image", "a mill", *map(str, files)]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 0, done.stderr
    scores = {row["index"]: row["score"] for row in map(json.loads, done.stdout.splitlines())}
    assert [scores[index] for index in range(3)] == pytest.approx(expected, abs=1e-6)
    done = CliRunner().invoke(cli.app, [*asked, "no-such.png", "--on-error", "skip"])
    assert done.exit_code == 3
    assert "no-such.png cannot be read" in done.stderr + done.stdout


@pytest.mark.slow
def test_the_size_of_images_is_an_option_in_json(tmp_path, files):
    folder = tiny_vision_language("qwen2_vl", tmp_path)
    options = {"min_pixels": 784, "max_pixels": 784}
    with LLM(str(folder), num_workers=1, mm_processor_kwargs=options) as llm:
        prompts = [{"multi_modal_data": {"image": path}} for path in files]
        wanted = np.stack([output.outputs.array for output in llm.embed(prompts, use_tqdm=False)])
    done = embed("-m", folder, "--image", "--mm-processor-kwargs", json.dumps(options), *files)
    assert np.abs(vectors_of(done) - wanted).max() < 1e-6
    done = embed("-m", folder, "--image", "--mm-processor-kwargs", '{"num_crops": 4}', files[0])
    assert done.exit_code != 0
    assert "no image option 'num_crops'. Available: min_pixels, max_pixels" in done.stderr
    done = embed("-m", folder, "--image", "--limit-mm-per-prompt", '{"image": 0}', files[0])
    assert done.exit_code != 0
    assert "At most 0 image(s) may be provided in one prompt" in done.stderr
    done = embed("-m", folder, "--image", "--mm-processor-kwargs", "max_pixels=784", files[0])
    assert "is not JSON" in done.stderr
