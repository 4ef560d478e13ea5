"""Files that appear whole, and directories that go."""
