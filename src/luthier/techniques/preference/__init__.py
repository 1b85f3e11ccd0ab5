"""Techniques that learn from which of two answers is better."""
