"""Pictures of a demo: rows on a scale, and lines over an axis."""
