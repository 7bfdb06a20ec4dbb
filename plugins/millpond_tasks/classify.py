"""Options of the tasks ``classify`` and ``token_classify``: probabilities of classes."""

from millpond_tasks.options import TaskOptions


class ClassifyOptions(TaskOptions):
    """Options of ``classify`` and ``token_classify``: only the pooling parameters apply."""
