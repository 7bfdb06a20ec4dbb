"""Images in prompts: decoding, preprocessing, and placeholders in texts."""
