"""The ground floor's mathematics: what mean-field theory predicts of a network before its first step. Pure float64 functions over
numpy and scipy; it sees no data and no live network, and never imports torch."""
