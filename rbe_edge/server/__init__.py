"""Serves a model over HTTP as OpenAI's API does: requests, constrained decoding, the scheduler of sessions, the app."""
