"""Training soft prompts: what does not depend on them is computed once, and many train at a
time."""
