"""Packing: from a model as it is published to one `.rbe` file (docs/format.md)."""
