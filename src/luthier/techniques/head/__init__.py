"""Techniques that put a head of their own on the base's states."""
