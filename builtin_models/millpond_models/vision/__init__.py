"""Models that read text and images."""
