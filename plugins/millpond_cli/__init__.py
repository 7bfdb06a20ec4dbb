"""The built-in commands of the program `millpond`."""
