"""Millpond's own API."""
