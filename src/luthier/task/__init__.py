"""What is asked? Task file, loaders, splits, leak checks, bundled tasks."""
