"""Builds the program, the library and the wheel for other machines (`rbe build`)."""
