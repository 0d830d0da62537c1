"""The processes of one training: which they are, how their records become one, and where they differ. Never imports torch."""
