"""``python -m millpond``: run the command ``millpond``, found by its entry point: the core imports no front end."""

from importlib.metadata import distribution

if __name__ == "__main__":
    (command,) = distribution("millpond").entry_points.select(group="console_scripts", name="millpond")
    command.load()()
