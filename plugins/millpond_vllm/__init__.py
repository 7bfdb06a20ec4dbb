"""Arguments of vLLM: a kit with their table, and the plugin that translates them for ``LLM``."""
