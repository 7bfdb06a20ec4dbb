"""The commands of the program `millpond`, one module each."""
