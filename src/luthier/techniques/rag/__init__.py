"""Techniques that look things up, and what they share: the index of a task, how searches are
judged."""
