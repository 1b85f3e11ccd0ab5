"""Scenes of coloured shapes: drawn from words, and read back from pixels by a program."""
