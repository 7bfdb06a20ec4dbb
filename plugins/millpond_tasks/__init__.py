"""The built-in pooling tasks: their records, options and output types."""
