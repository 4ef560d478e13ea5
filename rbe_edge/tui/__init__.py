"""`rbe chat` on a terminal: a Textual client with the engine inside. The only room that imports Textual."""
