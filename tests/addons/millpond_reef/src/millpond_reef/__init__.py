"""The checkpoints of Reef for Millpond."""
