"""Techniques that give a model tools."""
