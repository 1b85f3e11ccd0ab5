"""Who says which answer is better: people, models with a rubric, and functions."""
