"""The commands that Millpond comes with."""
