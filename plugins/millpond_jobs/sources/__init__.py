"""Input files of jobs: parquet, JSONL, CSV and Arrow files of Hugging Face datasets, cut into shards."""
