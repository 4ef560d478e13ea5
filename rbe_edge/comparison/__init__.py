"""The same model through llama.cpp and through this project, measured side by side (docs/quality.md)."""
