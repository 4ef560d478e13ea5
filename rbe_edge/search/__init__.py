"""Search by meaning in a folder of text files: `rbe index` and `rbe search`."""
