"""Each distinct token once: requests as a tree of tokens, planned and run."""
