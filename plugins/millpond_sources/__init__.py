"""The places that models come from: folders, the Hugging Face Hub and its cache, installed Python packages."""
