"""Runs models: Model, Session, Conversation, and the options they take.

A file engine_NAME.py holds one object of the C library: EngineModel, EngineSession, EngineGeneration. The file NAME.py
holds what users get: Model and Session are derived from the first two, and Generation drives the third. Files between
them, such as embeddings.py, import the lower class, and the upper class imports them. So there is no import circle.
"""
