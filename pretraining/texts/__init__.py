"""What nano reads: the corpus, its words, its tokens."""
