"""Grammars over bytes, JSON Schema and patterns, and the tokens that fit next."""
