"""Stop words of English."""

WORDS = frozenset({"a", "an", "and", "are", "by", "for", "from", "in", "is", "it", "of", "on", "the", "to", "with"})
