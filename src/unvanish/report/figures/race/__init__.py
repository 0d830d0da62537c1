"""Pictures of a race: loss curves, effects with intervals, and cost against benefit."""
