"""The version of the package; the C library of the same build says the same (rbe_version)."""

__version__ = "0.1.0"
