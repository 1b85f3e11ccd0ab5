"""The recipe of ``nano-reader``: MiniLM's encoder, a small decoder that learns to read from it."""
