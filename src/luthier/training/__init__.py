"""With which machinery? The one training loop: techniques differ only in what they mark
trainable."""
