"""Measures of what a packed model is worth."""
