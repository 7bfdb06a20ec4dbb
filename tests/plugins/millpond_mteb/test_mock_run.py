"""All tasks of `mteb.mock_run` that apply to a model run: embedding models, cross-encoders, late interaction, CLIP."""

import pytest

mteb = pytest.importorskip("mteb", reason="needs the extra mteb: make test-mteb")

from mteb.results import TaskResult  # noqa: E402  after the check

from millpond_models.testing.dual_encoders import tiny_dual_encoder  # noqa: E402
from millpond_mteb import MillpondCrossEncoder, MillpondEncoder, MillpondMultiVector  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of mteb and scikit-learn


def run(model):
    """Return the names of the tasks that ran, and the messages of those that failed."""
    statuses = {name: status for name, status in mteb.mock_run(model).items() if status is not None}
    failed = {name: status.exception for name, status in statuses.items() if not isinstance(status, TaskResult)}
    return sorted(statuses), failed


def test_embedding_model_passes_all_tasks_with_texts(dense_folder):
    tasks, failed = run(MillpondEncoder(str(dense_folder)))
    assert failed == {}
    assert len(tasks) >= 28
    assert {"MockRetrievalTask", "MockSTSTask", "MockClusteringTask", "MockBitextMiningTask"} <= set(tasks)


def test_cross_encoder_passes_all_tasks_with_documents_to_rank(pair_folder):
    tasks, failed = run(MillpondCrossEncoder(str(pair_folder)))
    # mteb refuses to search a whole corpus with any cross-encoder.
    assert {message for message in failed.values() if "requires top_ranked documents" not in message} == set()
    assert {"MockRerankingTask", "MockInstructionReranking"} <= set(tasks) - set(failed)


def test_late_interaction_passes_all_tasks_that_search(late_folder):
    tasks, failed = run(MillpondMultiVector(str(late_folder)))
    assert failed == {}
    assert {"MockRetrievalTask", "MockRerankingTask"} <= set(tasks)


def test_clip_passes_all_tasks_with_texts_and_images(tmp_path):
    folder = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    tasks, failed = run(MillpondEncoder(str(folder), mixed_modality="mean"))
    assert failed == {}
    assert {"MockAny2AnyRetrievalI2T", "MockVisionCentricQA", "MockImageClustering", "MockVisualSTS"} <= set(tasks)
