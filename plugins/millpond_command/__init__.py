"""Kit for plugins with commands: the program `millpond`, declaring commands, and the options of a model."""
