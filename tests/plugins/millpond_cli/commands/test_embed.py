"""``millpond embed`` with MiniLM: the results of each input, output and option equal those of ``LLM.embed``."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from millpond import LLM, PoolingParams
from millpond.testing import checkpoints
from millpond_command import cli

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["A cat sleeps.", "Der Kater schläft.", "猫が寝ている。", "a", 'The bank, it says, "rose".', "  spaces  "]
LONG_TEXT = "word " * 400
TOLERANCE = 1e-6


def embed(*arguments, stdin="", **environment):
    return CliRunner().invoke(cli.app, ["embed", *arguments], input=stdin, env=environment)


def lines_of(done):
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def vectors_of(done):
    return np.array([line["embedding"] for line in lines_of(done)], dtype=np.float32)


def assert_close(vectors, expected):
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() <= TOLERANCE


@pytest.fixture(scope="module")
def minilm():
    with LLM(MINILM) as llm:
        yield llm


@pytest.fixture(scope="module")
def expected(minilm):
    """The expected vectors, [num_texts, 384]."""
    return np.stack([output.outputs.array for output in minilm.embed(TEXTS, use_tqdm=False)])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint that loads quickly: 32 dimensions, at most 64 tokens."""
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


# --- input ------------------------------------------------------------------------------------------------------------


def test_arguments(expected):
    done = embed(*TEXTS)
    assert_close(vectors_of(done), expected)
    assert [(line["index"], sorted(line)) for line in lines_of(done)] == [
        (n, ["embedding", "index", "num_tokens"]) for n in range(len(TEXTS))
    ]
    assert lines_of(done)[3]["num_tokens"] == 3
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [[], ["-"], ["--input", "-"]])
def test_lines_of_stdin(tiny, arguments):
    done = embed("-m", tiny, *arguments, stdin="\n".join(TEXTS))
    assert_close(vectors_of(done), vectors_of(embed("-m", tiny, *TEXTS)))


def test_a_file_of_lines(tmp_path, expected):
    path = tmp_path / "docs.txt"
    path.write_text("\r\n".join(TEXTS), encoding="utf-8-sig")
    assert_close(vectors_of(embed("-i", str(path))), expected)


def test_a_file_of_json_lines_with_keys(tmp_path, expected):
    path = tmp_path / "docs.jsonl"
    rows = [{"body": text, "key": f"k{n}", "more": 1} for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = embed("-i", str(path), "--text-key", "body", "--id-key", "key", "--with-text")
    assert_close(vectors_of(done), expected)
    assert [line["id"] for line in lines_of(done)] == [f"k{n}" for n in range(len(TEXTS))]
    assert [line["text"] for line in lines_of(done)] == TEXTS


def test_a_csv_file(tmp_path, expected):
    path = tmp_path / "docs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(TEXTS)])
    done = embed("--input", str(path))
    assert_close(vectors_of(done), expected)
    assert [line["id"] for line in lines_of(done)] == ["0", "1", "2", "3", "4", "5"]


def test_json_lines_from_stdin(tiny):
    done = embed("-m", tiny, "--input-format", "jsonl", stdin='{"text": "one", "id": 5}\n"two"\n')
    assert [(line["index"], line.get("id")) for line in lines_of(done)] == [(0, 5), (1, None)]


def test_more_than_one_piece_keeps_its_order(tiny):
    words = ["cat", "dog", "fish", "bird", "lake", "pond", "river"]
    texts = [f"{words[n % 7]} {words[n % 5]} {n}" for n in range(2100)]
    done = embed("-m", tiny, stdin="\n".join(texts))
    with LLM(tiny) as llm:
        whole = np.stack([output.outputs.array for output in llm.embed(texts, use_tqdm=False)])
    assert [line["index"] for line in lines_of(done)] == list(range(2100))
    assert np.abs(vectors_of(done) - whole).max() <= 1e-5


def test_empty_input_causes_a_warning_and_exit_code_0(tiny):
    done = embed("-m", tiny, stdin="")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "warning: stdin contains no text\n")
    assert embed("-m", tiny, "-q", stdin="").stderr == ""


@pytest.mark.parametrize(("file_format", "output"), [("table", ""), ("jsonl", ""), ("json", "[]\n")])
def test_empty_input_ends_before_the_model_is_loaded(tmp_path, file_format, output):
    done = embed("-m", str(tmp_path / "missing"), "-f", file_format, stdin="")
    assert (done.exit_code, done.stdout, done.stderr) == (0, output, "warning: stdin contains no text\n")


# --- output -----------------------------------------------------------------------------------------------------------


def test_json_and_csv_on_stdout(tiny):
    plain = lines_of(embed("-m", tiny, *TEXTS))
    assert json.loads(embed("-m", tiny, *TEXTS, "--format", "json").stdout) == plain
    header, *records = csv.reader(io.StringIO(embed("-m", tiny, *TEXTS, "-f", "csv").stdout))
    assert header[:3] == ["index", "num_tokens", "e0"]
    assert_close(
        np.array([record[2:] for record in records], dtype=np.float32), np.array([line["embedding"] for line in plain])
    )


def test_npy_on_stdout(tiny):
    done = embed("-m", tiny, *TEXTS, "-f", "npy")
    assert_close(np.load(io.BytesIO(done.stdout_bytes)), vectors_of(embed("-m", tiny, *TEXTS)))


@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.csv", "out.npy", "out"])
def test_the_suffix_of_a_file_selects_its_format(tmp_path, tiny, name):
    path = tmp_path / name
    done = embed("-m", tiny, "cat", "dog", "-o", str(path))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    space = [path.with_suffix(".space.json")] if path.suffix == ".npy" else []
    assert sorted(tmp_path.iterdir()) == [path, *space]
    kind = path.suffix.removeprefix(".") or "jsonl"
    assert path.read_bytes() == embed("-m", tiny, "cat", "dog", "-f", kind).stdout_bytes


def test_vectors_of_tokens(tmp_path, minilm):
    path = tmp_path / "out.npz"
    assert embed("A cat.", "a", "--task", "token_embed", "-o", str(path)).exit_code == 0
    (first, second) = minilm.encode(["A cat.", "a"], pooling_task="token_embed", use_tqdm=False)
    content = np.load(path)
    assert content["offsets"].tolist() == [0, 5, 8]
    assert_close(content["embeddings"], np.concatenate([first.outputs.array, second.outputs.array]))
    (line,) = lines_of(embed("A cat.", "--pooling-task", "token_embed"))
    assert_close(np.array(line["embedding"]), first.outputs.array)


# --- options of the model ---------------------------------------------------------------------------------------------


def test_options_reach_the_model(minilm):
    raw = minilm.embed("cat", pooling_params=PoolingParams(use_activation=False), use_tqdm=False)[0].outputs.array
    assert_close(vectors_of(embed("cat", "--no-normalize"))[0], raw)
    first = vectors_of(embed("cat", "--pooler-config", '{"pooling_type": "CLS"}'))[0]
    with LLM(MINILM, pooler_config={"pooling_type": "CLS"}) as llm:
        assert_close(first, llm.embed("cat", use_tqdm=False)[0].outputs.array)


def test_prompts_precede_texts(tmp_path):
    model = checkpoints.tiny("BertModel", tmp_path / "model")
    checkpoints.write_sentence_transformers(model, prompts={"find": "find the ", "other": "no "})
    path = model / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"default_prompt_name": "other"}))
    plain, vector, other = vectors_of(embed("-m", str(model), "cat", "find the cat", "no cat"))
    assert_close(vectors_of(embed("-m", str(model), "cat"))[0], plain)
    assert_close(vectors_of(embed("-m", str(model), "cat", "--prompt", "find the "))[0], vector)
    assert_close(vectors_of(embed("-m", str(model), "cat", "--prompt-name", "find"))[0], vector)
    assert_close(vectors_of(embed("-m", str(model), "cat", "--apply-default-prompt"))[0], other)
    done = embed("-m", str(model), "cat", "--prompt-name", "seek")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "seek" in done.stderr


def test_an_adapter_is_applied_together_with_its_prompt(tmp_path):
    model = str(checkpoints.tiny("XLMRobertaModel", tmp_path / "model", position_embedding_type="rotary"))
    with LLM(model) as llm:
        expected = llm.embed("cat", adapter="retrieval.query", use_tqdm=False)[0].outputs.array
    assert_close(vectors_of(embed("-m", model, "cat", "--adapter", "retrieval.query"))[0], expected)
    done = embed("-m", model, "cat", "--adapter", "seek")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "'retrieval.query'" in done.stderr


def test_a_text_that_is_too_long_is_embedded_in_pieces(tiny):
    with LLM(tiny) as llm:
        whole = llm.embed(LONG_TEXT, on_overflow="chunk", use_tqdm=False)[0].outputs.array
    done = embed("-m", tiny, LONG_TEXT, "--on-overflow", "chunk")
    assert_close(vectors_of(done)[0], whole)
    assert done.stderr == ""
    cut = vectors_of(embed("-m", tiny, LONG_TEXT, "--on-overflow", "truncate"))[0]
    assert np.abs(cut - whole).max() > 1e-3
    assert_close(cut, vectors_of(embed("-m", tiny, LONG_TEXT, "--truncate"))[0])


def test_dimensions_of_a_model_trained_for_it(tiny):
    done = embed("-m", tiny, "cat", "--dimensions", "8", "--hf-overrides", '{"is_matryoshka": true}')
    assert vectors_of(done).shape == (1, 8)
    done = embed("-m", tiny, "cat", "--dimensions", "8")
    assert done.exit_code == 1
    assert "does not support matryoshka" in done.stderr


def test_a_kernel_and_a_budget_of_tokens(tiny):
    done = embed("-m", tiny, *TEXTS, "--kernel", "attention=reference", "--batch-tokens", "16", "--device", "cpu")
    assert np.abs(vectors_of(done) - vectors_of(embed("-m", tiny, *TEXTS))).max() <= 1e-5


# --- failures ---------------------------------------------------------------------------------------------------------


def test_the_error_for_a_long_text_names_its_line_and_earlier_rows_are_written(tiny):
    done = embed("-m", tiny, stdin=f"cat\n{LONG_TEXT}\ndog\n")
    assert done.exit_code == 1
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0]
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: stdin, line 2: This model's maximum context length is 64 tokens.")
    assert hint == (
        "hint: --truncate truncates long texts, --on-overflow chunk embeds them in chunks, "
        "--on-error skip skips texts that fail"
    )


def test_images_for_a_text_model_get_no_hint_to_skip_them(tiny, tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    done = embed("-m", tiny, "--image", str(tmp_path / "a.png"))
    assert done.exit_code == 1
    assert "accepts only text" in done.stderr
    assert done.stderr.splitlines()[-1] == "hint: use --model with a model that reads images"


def test_truncation_is_applied_and_reported():
    done = embed(LONG_TEXT, "short", "--truncate")
    (cut, whole) = lines_of(done)
    assert (cut["num_tokens"], cut["num_dropped_tokens"]) == (256, 146)
    assert "num_dropped_tokens" not in whole
    assert done.stderr == "warning: 1 of 2 texts were truncated to 256 tokens\n"
    assert_close(np.array(cut["embedding"]), vectors_of(embed("word " * 254))[0])


def test_failing_texts_can_be_skipped(tmp_path, tiny):
    path = tmp_path / "docs.jsonl"
    rows = [
        '{"text": "cat", "id": 1}',
        '{"text": "a\\udfff"}',
        "no json",
        '{"text": "\\ud800"}',
        json.dumps(LONG_TEXT),
        '"dog"',
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    done = embed("-m", tiny, "-i", str(path), "--on-error", "skip")
    assert done.exit_code == 3
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [("embedding" in line, "error" in line, line["index"]) for line in lines] == [
        (number in (0, 5), number not in (0, 5), number) for number in range(6)
    ]
    *failures, last = done.stderr.splitlines()
    assert [failure.split(": ")[1] for failure in failures] == [f"{path}, line {n}" for n in (2, 3, 4, 5)]
    assert "lone surrogate" in failures[0]
    assert "not JSON" in failures[1]
    assert "lone surrogate" in failures[2]
    assert "maximum context length" in failures[3]
    assert last == "warning: 4 of 6 texts failed and have no result"
    array = np.load(io.BytesIO(embed("-m", tiny, "-i", str(path), "--on-error", "skip", "-f", "npy").stdout_bytes))
    assert np.isnan(array).all(axis=1).tolist() == [False, True, True, True, True, False]


def test_a_file_is_written_although_some_texts_failed(tmp_path, tiny):
    path = tmp_path / "out.jsonl"
    done = embed("-m", tiny, "--on-error", "skip", "-o", str(path), "cat", LONG_TEXT)
    assert done.exit_code == 3
    assert ["embedding" in json.loads(line) for line in path.read_text().splitlines()] == [True, False]


def test_the_error_for_invalid_utf8_names_its_line(tiny):
    done = embed("-m", tiny, stdin=b"cat\n\xff\xfe\n")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: stdin, line 2: the text is not UTF-8: invalid byte")


def test_a_failure_leaves_no_file_and_the_old_one(tmp_path, tiny):
    path = tmp_path / "out.npy"
    path.write_bytes(b"before")
    done = embed("-m", tiny, "cat", "mill " * 100, "-o", str(path))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: argument 2: This model's maximum context length")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_input_is_not_replaced_by_its_results(tmp_path, tiny):
    path = tmp_path / "texts.txt"
    path.write_text("cat\n")
    done = embed("-m", tiny, "-i", str(path), "-o", str(path), "-f", "jsonl")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (1, f"error: {path} is also the input")
    assert path.read_text() == "cat\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "no-such-file.txt"], "error: no-such-file.txt: No such file or directory\n"),
        (["-i", ".", "--input-format", "txt"], "error: .: Is a directory\n"),
        (["cat", "-o", "no/such/folder/x.npy"], "error: cannot write no/such/folder/x.npy: No such file"),
        (["cat", "-m", "no/such-model"], "error: no source has the model 'no/such-model':\n  path: "),
        (["cat", "-m", "."], "has no config.json"),
        (["cat", "--dtype", "int3"], "error: dtype='int3': expected one of auto, float32"),
        (["cat", "--kernel", "attention=nonsense"], "attention.nonsense"),
        (["cat", "--max-model-len", "100000"], "max_model_len=100000"),
    ],
)
def test_a_failure_is_one_line_and_exits_with_1(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = embed(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cat", "-i", "docs.txt"], "both arguments and read from --input"),
        (["-i", "docs.pdf"], "does not specify an input format"),
        (["cat", "-o", "out.txt"], "does not specify an output format"),
        (["cat", "-f", "xml"], "--format 'xml': expected one of table, jsonl, json, csv, npy, npz"),
        (["cat", "--on-error", "ignore"], "--on-error 'ignore': expected one of raise, skip"),
        (["cat", "--text-key", "body"], "--text-key requires JSONL"),
        (["--id-key", "key"], "--id-key requires JSONL"),
        (["cat", "-f", "npy", "--with-text"], "--with-text: npy has only vectors"),
        (["-i", "docs.csv", "-f", "npy", "--id-key", "id"], "--id-key: npy has only vectors"),
        (["cat", "--task", "token_embed", "-f", "npy"], "npy has one vector per text"),
        (["cat", "--task", "token_embed", "-o", "out.csv"], "csv has one vector per text"),
        (["cat", "-o", "out.npz"], "npz has one vector per token"),
        (["cat", "--task", "tokens_embed"], "did you mean 'token_embed'"),
        (["cat", "--pooler-config", "{"], "--pooler-config '{' is not JSON"),
        (["cat", "--pooler-config", "[]"], "--pooler-config '[]' is not a JSON object"),
        (["cat", "--pooler-config", '{"kind": 1}'], "Unknown field 'kind'. Available: task, pooling_type"),
        (["cat", "--hf-overrides", "x"], "--hf-overrides 'x' is not JSON"),
        (["cat", "--kernel", "attention"], "--kernel 'attention': expected OP=VARIANT"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_loaded(monkeypatch, arguments, message):
    monkeypatch.setattr(LLM, "__init__", lambda *_, **__: pytest.fail("it loads the model"))
    done = embed(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
