"""Long texts in chunks and windows."""
