"""Distribution of tests to processes: whole files, those with slow tests first, and some folders together."""

from xdist.scheduler import LoadFileScheduling

# The files of a folder that share a fixture which is expensive to create: one process runs them all.
FOLDERS_IN_ONE_PROCESS = ("tests/core/testing/conformance",)


class FileScheduling(LoadFileScheduling):
    """Like ``--dist loadfile``, in the order of collection."""

    def __init__(self, config, log=None):
        super().__init__(config, log)
        config.option.loadscopereorder = False  # else the files with few tests are last, which are the long ones

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return next((folder for folder in FOLDERS_IN_ONE_PROCESS if file.startswith(f"{folder}/")), file)
