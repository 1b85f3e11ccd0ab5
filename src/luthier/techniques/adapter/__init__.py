"""Techniques that train a few weights beside the frozen ones, through the PEFT library."""
