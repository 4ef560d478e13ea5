"""Tunes the continuous parameters of a packed model: row scales, norms and biases (docs/tuning.md)."""
