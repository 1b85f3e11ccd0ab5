"""How do people reach it? The commands of the command line, one file each."""
