"""The file format: writer and reader."""
