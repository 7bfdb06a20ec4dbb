"""The folder of a job: its description, finished shards, and leases of shards that are being computed."""
