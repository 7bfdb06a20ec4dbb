"""The built-in model sources: local folders, the Hugging Face Hub and its cache, installed Python packages."""
