"""Parts of the chat client's screens."""
