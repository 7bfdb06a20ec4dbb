"""HTTP APIs, one folder each: routes and their schemas."""
