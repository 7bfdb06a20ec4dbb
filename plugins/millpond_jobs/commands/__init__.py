"""The command `millpond job`."""
