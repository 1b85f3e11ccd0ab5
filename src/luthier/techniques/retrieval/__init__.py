"""What techniques that look things up share: the index of a task, and how searches are judged."""
