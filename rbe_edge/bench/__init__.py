"""Speed of models on this machine: what `rbe bench` measures, on real files or on shapes filled with random bits."""
