"""Models in GGUF files (ggml's docs/gguf.md), as llama.cpp's tools write them."""
