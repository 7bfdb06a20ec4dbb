"""The command `millpond serve`."""
