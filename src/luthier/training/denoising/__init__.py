"""Training a model that draws: rows of pictures with captions, and trials over its denoiser."""
