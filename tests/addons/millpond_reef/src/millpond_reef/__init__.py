"""Support for Reef checkpoints in Millpond."""
