"""Techniques for models that draw."""
