"""What do people and judges say? Sampling, opinions, agreement, reward models, rounds."""
