"""Pretraining of `mini-scene`, the embedded text-to-image model."""
