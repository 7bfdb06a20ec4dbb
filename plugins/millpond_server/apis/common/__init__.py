"""Request parts that several APIs share."""
