"""Compatibility with other libraries: what exists only because they spell it so."""
