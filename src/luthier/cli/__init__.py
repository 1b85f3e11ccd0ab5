"""How do people reach it? The commands, one file each."""
