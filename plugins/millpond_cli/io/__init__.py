"""Input and output of commands: rows of texts and pairs, results in each format, notes on stderr."""
