"""The vocabulary: prompts, parameters, outputs, settings and errors. Knows nothing of plugins, models or files."""
