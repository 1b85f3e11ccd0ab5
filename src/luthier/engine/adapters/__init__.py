"""Requests of different adapters in one batch."""
