"""Measures of a packed model's quality: perplexity and KL divergence."""
