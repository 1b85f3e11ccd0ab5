"""Techniques that learn virtual tokens, or keys and values, for a frozen base."""
