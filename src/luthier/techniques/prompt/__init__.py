"""Techniques that only change the prompt: zero-shot, few-shot, prompt search."""
