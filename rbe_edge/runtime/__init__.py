"""Runs models: Model, Session, Conversation, and the options they take."""
