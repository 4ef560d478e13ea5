"""Everything that drives llama.cpp for comparisons."""
