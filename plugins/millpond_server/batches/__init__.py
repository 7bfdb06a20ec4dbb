"""Files and batches of OpenAI's API: request bodies in a file, answered in the background."""
