"""Kit for plugins with commands: the program `millpond`, the declaration of commands, and shared model options."""
