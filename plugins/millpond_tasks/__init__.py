"""The pooling tasks that Millpond comes with."""
