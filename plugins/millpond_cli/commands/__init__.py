"""The built-in commands of `millpond`, one module each."""
