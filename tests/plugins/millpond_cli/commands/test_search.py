"""``millpond search``: finds passages, keeps an index that follows the file, and orders results with a reranker."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing import checkpoints
from millpond_cli.commands import search as command
from millpond_cli.search import embedder
from millpond_command import cli

TEXTS = ["The tyre is flat.", "Spread tea leaves in the sun until they are dry.", "Coffee is roasted.", "Tea grows."]
QUERY = "how do I dry tea"


def search(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["search", *map(str, arguments)], input=stdin)


def results_of(*arguments, stdin=""):
    done = search(*arguments, "--json", stdin=stdin)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)["results"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("\n".join([*TEXTS, "", "  "]), encoding="utf-8")
    return path


@pytest.fixture
def embedded(monkeypatch):
    """The texts that were embedded as passages."""
    texts = []
    original = embedder.Embedder.passages

    def passages(self, rows, progress):
        texts.extend(row.text for row in rows)
        return original(self, rows, progress)

    monkeypatch.setattr(embedder.Embedder, "passages", passages)
    return texts


def test_minilm_finds_the_passage_that_answers(notes):
    first, *others = results_of(QUERY, notes, "-k", 3)
    assert (first["rank"], first["index"], first["location"]) == (1, 1, f"{notes}, line 2")
    assert first["text"] == TEXTS[1]
    with LLM("sentence-transformers/all-MiniLM-L6-v2") as llm:
        query, *vectors = [one.outputs.array for one in llm.embed([QUERY, *TEXTS], use_tqdm=False)]
    expected = np.sort(np.array(vectors) @ query)[::-1][:3]
    assert np.abs(np.array([first["score"], *(it["score"] for it in others)]) - expected).max() <= 1e-5


def test_a_second_search_embeds_nothing_and_a_changed_file_its_new_lines(tiny, notes, embedded):
    first = results_of("-m", tiny, QUERY, notes)
    assert embedded == TEXTS
    assert results_of("-m", tiny, QUERY, notes) == first
    assert embedded == TEXTS
    notes.write_text("\n".join(["A new line.", *TEXTS[1:]]), encoding="utf-8")
    changed = results_of("-m", tiny, QUERY, notes)
    assert embedded == [*TEXTS, "A new line."]
    assert {it["text"] for it in changed} == {"A new line.", *TEXTS[1:]}
    assert changed == results_of("-m", tiny, QUERY, notes, "--no-index")


def test_a_second_search_reads_no_passage_and_runs_the_model_on_the_query_only(tiny, notes, monkeypatch):
    read, embedded = [], []
    open_corpus, original = command.open_corpus, LLM.encode

    def recorded(source, **options):
        corpus = open_corpus(source, **options)
        return replace(corpus, rows=lambda: read.append(source) or corpus.rows())

    monkeypatch.setattr(command, "open_corpus", recorded)

    def encode(self, texts, *args, **options):
        embedded.extend(texts)
        return original(self, texts, *args, **options)

    monkeypatch.setattr(LLM, "encode", encode)
    first = results_of("-m", tiny, QUERY, notes)
    assert (len(read), embedded) == (1, [*TEXTS, QUERY])
    assert results_of("-m", tiny, QUERY, notes) == first
    assert (len(read), embedded) == (1, [*TEXTS, QUERY, QUERY])
    results_of("-m", tiny, "another query", notes, "-k", 1)
    assert (len(read), embedded[-1]) == (1, "another query")


def test_a_touched_file_keeps_its_vectors_and_another_model_has_its_own(tiny, notes, embedded, tmp_path):
    results_of("-m", tiny, QUERY, notes)
    content = notes.read_bytes()
    notes.unlink()
    notes.write_bytes(content)
    results_of("-m", tiny, QUERY, notes)
    assert embedded == TEXTS
    other = checkpoints.tiny("BertModel", tmp_path / "other")
    results_of("-m", other, QUERY, notes)
    assert embedded == TEXTS * 2
    results_of("-m", tiny, QUERY, notes)
    assert len(list((tmp_path / ".millpond").glob("notes.txt.*"))) == 2
    assert embedded == TEXTS * 2


def test_new_weights_in_the_same_folder_replace_the_index(notes, embedded, tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "model")
    results_of("-m", folder, QUERY, notes)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    results_of("-m", folder, QUERY, notes)
    assert embedded == TEXTS * 2


def test_no_index_leaves_no_file(tiny, notes, tmp_path):
    results_of("-m", tiny, QUERY, notes, "--no-index")
    results_of("-m", tiny, QUERY, "-", stdin=notes.read_text(encoding="utf-8"))
    assert not (tmp_path / ".millpond").exists()


def test_an_index_that_cannot_be_written_is_a_warning(tiny, notes, tmp_path):
    (tmp_path / ".millpond").write_text("a file", encoding="utf-8")
    done = search("-m", tiny, QUERY, notes)
    assert done.exit_code == 0
    assert "warning: cannot write the index" in done.stderr
    assert len(done.stdout.splitlines()) == len(TEXTS)


def test_rows_of_jsonl_have_ids(tiny, tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"k{n}", "body": text}) for n, text in enumerate(TEXTS)), "utf-8")
    results = results_of("-m", tiny, QUERY, path, "--text-key", "body", "-k", 2)
    assert [it["id"] for it in results] == [f"k{it['index']}" for it in results]
    assert len(results) == 2


def test_a_pipe_gets_tab_separated_lines(tiny, notes):
    lines = [line.split("\t") for line in search("-m", tiny, QUERY, notes).stdout.splitlines()]
    assert [len(line) for line in lines] == [3] * len(TEXTS)
    scores = [float(score) for score, _, _ in lines]
    assert scores == sorted(scores, reverse=True)
    assert {text for _, _, text in lines} == set(TEXTS)


def test_a_reranker_orders_the_candidates(tiny, notes, tmp_path):
    reranker = checkpoints.tiny("BertForSequenceClassification", tmp_path / "reranker", num_labels=1)
    results = results_of("-m", tiny, QUERY, notes, "--rerank", reranker)
    with LLM(str(reranker)) as llm:
        scores = [one.outputs.score for one in llm.score(QUERY, TEXTS, use_tqdm=False)]
    assert [it["text"] for it in results] == [TEXTS[index] for index in np.argsort(-np.array(scores))]
    assert np.abs(np.array([it["score"] for it in results]) - np.sort(scores)[::-1]).max() <= 1e-6
    assert len(results_of("-m", tiny, QUERY, notes, "--rerank", reranker, "--candidates", 2, "-k", 2)) == 2


def test_prompts_of_the_model_precede_queries_and_passages(notes, tmp_path, monkeypatch):
    prompts = {"query": "find: ", "passage": "text: "}
    folder = checkpoints.tiny("BertModel", tmp_path / "prompted")
    checkpoints.write_sentence_transformers(folder, prompts=prompts)
    calls = []
    original = LLM.encode
    monkeypatch.setattr(LLM, "encode", lambda *args, **options: calls.append(options) or original(*args, **options))
    results_of("-m", folder, QUERY, notes)
    assert [call.get("prompt_name") for call in calls] == ["passage", "query"]
    results_of("-m", folder, QUERY, notes, "--query-prompt", "q: ", "--document-prompt", "")
    assert [call.get("prompt") for call in calls[2:]] == ["", "q: "]


def test_failing_rows_end_the_search_unless_they_are_skipped(tiny, tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text('{"text": "tea"}\n{"body": 1}\n"\\ud800"\n"coffee"\n', encoding="utf-8")
    done = search("-m", tiny, QUERY, path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "docs.jsonl, line 2: no field 'text'" in done.stderr
    done = search("-m", tiny, QUERY, path, "--on-error", "skip")
    assert done.exit_code == 3
    assert "docs.jsonl, line 3:" in done.stderr
    assert {line.split("\t")[2] for line in done.stdout.splitlines()} == {"tea", "coffee"}


def test_an_interrupted_search_is_continued_by_the_next_one(tiny, notes, embedded, monkeypatch):
    original = embedder.Embedder.block
    monkeypatch.setattr(embedder, "ROWS_PER_CALL", 2)

    def interrupted(self, rows, progress):
        if rows[0].text == TEXTS[2]:
            raise KeyboardInterrupt
        return original(self, rows, progress)

    monkeypatch.setattr(embedder.Embedder, "block", interrupted)
    done = search("-m", tiny, QUERY, notes)
    assert done.exit_code == 130
    assert "interrupted after 2 of 4 passages; the next search computes the others" in done.stderr
    monkeypatch.setattr(embedder.Embedder, "block", original)
    embedded.clear()
    assert len(results_of("-m", tiny, QUERY, notes)) == 4
    assert embedded == TEXTS[2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{notes}", "tea"], "is a file, but the first argument is the query"),
        (["tea", "{notes}x"], "no such file or folder"),
        (["tea", "{notes}", "--rerank", "./nothing"], "no source has the model './nothing'"),
        (["tea", "{notes}", "-m", "{reranker}"], "does not serve the task 'embed'"),
        (["tea", "{notes}", "-k", "0"], "-k"),
    ],
)
def test_wrong_arguments_are_explained(notes, tmp_path, arguments, message):
    reranker = tmp_path / "reranker"
    if "{reranker}" in arguments:
        checkpoints.tiny("BertForSequenceClassification", reranker, num_labels=1)
    done = search(*(it.format(notes=notes, reranker=reranker) for it in arguments))
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_file_has_no_result(tiny, tmp_path):
    (tmp_path / "empty.txt").touch()
    done = search("-m", tiny, QUERY, tmp_path / "empty.txt")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "empty.txt contains no text" in done.stderr


def test_a_terminal_gets_a_table(tiny, notes, monkeypatch):
    monkeypatch.setattr(command, "is_terminal", lambda: True)
    heading, *rows = search("-m", tiny, QUERY, notes).stdout.splitlines()
    assert heading.split() == ["RANK", "SCORE", "LOCATION", "TEXT"]
    assert all(" line " in row for row in rows)
