"""model2vec: static token embeddings, recognized by the architecture in config.json."""

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond_formats.static import is_static, static_config

FILE = "config.json"


def read_model2vec(repository: Repository) -> tuple[Layer, ...]:
    """Return what config.json states about a model with static embeddings; nothing for other models.

    Raises:
        CheckpointError: If config.json is damaged, or the embeddings are missing.
    """
    if not is_static(read_object(repository.path / FILE)):
        return ()
    values = {"files.config": static_config(repository.path), "text.special_tokens": False}
    return (Layer(FILE, values, {"text.special_tokens": "architectures"}),)
