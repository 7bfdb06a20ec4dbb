"""The IO processors of Millpond's own tasks."""
