"""Puts a model and the program that runs it onto another machine, over ssh or adb (`rbe deploy`)."""
