"""What a model is packed from."""
