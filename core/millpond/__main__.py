"""``python -m millpond``: run the command ``millpond`` by its entry point; the core must not import plugins."""

from importlib.metadata import distribution

if __name__ == "__main__":
    (command,) = distribution("millpond").entry_points.select(group="console_scripts", name="millpond")
    command.load()()
