"""What is kept between chats: conversations, settings, and the places of the files."""
