"""Fixtures for the tests of poolers: poolers built like by a model, models, sentence-transformers."""

import shutil

import pytest
import torch
from pooling_files_kit import TEXTS

from millpond import PoolerConfig, PoolingParams
from millpond.context import Context
from millpond.model.spec import ModelIdentity, ResolvedModel
from millpond.nn import PoolingMetadata
from millpond.testing.checkpoints import tiny
from millpond.types.config import CheckpointConfig


@pytest.fixture
def build(registry):
    """Build the pooler of a task for a pooling type, like a model with two tasks."""

    def build(name, *, task="embed", dense=None, head=None, activation=None):
        config = CheckpointConfig({})
        model = ResolvedModel(
            identity=ModelIdentity(model="none", path="none", source="none", architecture="none"),
            hf_config=config,
            max_model_len=8,
            dtype="float32",
            pooler_config=PoolerConfig(pooling_type=None, seq_pooling_type=name, tok_pooling_type=name),
            tasks=("embed", "token_embed"),
        )
        ctx = Context(
            registry=registry,
            model=model,
            config=config,
            device=torch.device("cpu"),
            dtype=torch.float32,
            rows_after_pooling=None if dense is None else torch.nn.Sequential(dense),
        )
        return ctx.pooler(task, head=head, activation=activation)

    return build


@pytest.fixture
def metadata():
    """Return the metadata of sequences of these lengths; their token ids count up from 0."""

    def metadata(*lengths, params=None):
        return PoolingMetadata(
            lengths=lengths,
            input_ids=torch.arange(sum(lengths)),
            params=tuple(params or [PoolingParams(use_activation=False)] * len(lengths)),
        )

    return metadata


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A checkpoint without files of sentence-transformers."""
    return tiny("BertModel", tmp_path_factory.mktemp("bare"))


@pytest.fixture
def checkpoint(bare, tmp_path):
    return shutil.copytree(bare, tmp_path / "checkpoint")


@pytest.fixture
def theirs(sentence_transformers):
    """The embeddings of sentence-transformers for the same folder."""

    def theirs(folder):
        model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        return model.encode(TEXTS, batch_size=3, show_progress_bar=False)

    return theirs
