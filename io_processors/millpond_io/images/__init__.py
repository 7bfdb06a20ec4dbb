"""Images in prompts: decoding, preprocessing, and where they stand in a text."""
