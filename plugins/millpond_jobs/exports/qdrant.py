"""Export to a collection of Qdrant: dense, multiple or sparse vectors. Needs qdrant-client."""

from inspect import signature
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np
import pyarrow as pa

from millpond_checkpoints.space import METADATA_KEY
from millpond_jobs.errors import JobError
from millpond_jobs.exports.results import (
    ID,
    VECTOR,
    VECTORS,
    WEIGHTS,
    Results,
    check_ids,
    library,
    multi_vectors_of,
    sparse_of,
    vectors_of,
    without_password,
)

BATCH_POINTS = 256
SPARSE_NAME = "weights"


def export(results: Results, location: str) -> None:
    """Create a collection, compared by dot product, and upload all rows.

    The id of a row is its point's id if Qdrant allows it (an integer of at least 0, or a UUID); else the point's id is
    a UUID made from it. The payload contains it as ``id``.

    Args:
        results: The results of a job.
        location: The URL of a server, or a folder for local mode.

    Raises:
        JobError: If the results are not vectors, ids are missing or not unique, the collection exists, or qdrant-client
            is not installed.
    """
    client_module = library("qdrant_client", "qdrant")
    column = results.require("qdrant", VECTOR, VECTORS, WEIGHTS)
    check_ids(results, "Qdrant", key=point_id)
    is_url = location.startswith(("http://", "https://"))
    client = client_module.QdrantClient(url=location) if is_url else client_module.QdrantClient(path=location)
    try:
        if client.collection_exists(results.name):
            address = without_password(location)
            message = f"the collection {results.name!r} exists in {address}; choose a different one with --name"
            raise JobError(message)
        has_metadata = "metadata" in signature(client.create_collection).parameters  # since 1.16
        described = {"metadata": {METADATA_KEY: results.manifest.space}} if has_metadata else {}
        client.create_collection(results.name, **_collection(client_module.models, results, column), **described)
        try:
            for table in results.export_tables():
                points = _points(client_module.models, table, column)
                for start in range(0, len(points), BATCH_POINTS):
                    client.upsert(results.name, points[start : start + BATCH_POINTS], wait=True)
        except BaseException:  # half a collection would pass for a whole one
            client.delete_collection(results.name)
            raise
    finally:
        client.close()


def point_id(row_id: int | str) -> int | str:
    """Return a point's id for the id of a row."""
    if isinstance(row_id, int):
        return row_id if row_id >= 0 else str(uuid5(NAMESPACE_OID, str(row_id)))
    try:
        return str(UUID(row_id))
    except ValueError:
        return str(uuid5(NAMESPACE_OID, row_id))


def _collection(models: Any, results: Results, column: str) -> dict[str, Any]:
    if column == WEIGHTS:
        return {"vectors_config": {}, "sparse_vectors_config": {SPARSE_NAME: models.SparseVectorParams()}}
    kind = results.schema.field(column).type
    size = kind.list_size if column == VECTOR else kind.value_type.list_size
    several = None
    if column == VECTORS:
        several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return {"vectors_config": models.VectorParams(size=size, distance=models.Distance.DOT, multivector_config=several)}


def _points(models: Any, table: pa.Table, column: str) -> list[Any]:
    if column == WEIGHTS:
        vectors: list[Any] = [{SPARSE_NAME: models.SparseVector(**row)} for row in sparse_of(table)]
    elif column == VECTORS:
        vectors = [row.tolist() for row in multi_vectors_of(table, column)]
    else:
        vectors = vectors_of(table, column).astype(np.float32).tolist()
    ids = table.column(ID).to_pylist()
    return [
        models.PointStruct(id=point_id(row_id), vector=vector, payload={ID: row_id})
        for row_id, vector in zip(ids, vectors, strict=True)
    ]
