"""The IO processors that serve Millpond's own tasks."""
