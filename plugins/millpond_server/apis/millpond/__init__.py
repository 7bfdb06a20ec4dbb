"""Routes that only Millpond has, and its health."""
