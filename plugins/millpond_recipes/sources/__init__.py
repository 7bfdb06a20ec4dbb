"""Input files: text lines, JSONL, CSV, TSV, parquet and Arrow, read row by row. Text needs no pyarrow."""
