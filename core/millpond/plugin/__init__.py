"""The plugin kernel: hooks, records, discovery and the registry. Knows nothing of models."""
