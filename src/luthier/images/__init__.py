"""How is a picture made? Painters over pipelines of diffusers, and scenes that a program checks."""
