"""The models of this machine by their names: the model folder, what is packed into it once, a list to choose from."""
