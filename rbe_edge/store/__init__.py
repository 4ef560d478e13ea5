"""What is kept between chats: conversations, settings, and where the files lie."""
