"""Local weights: any Hugging Face causal or encoder–decoder model on this machine."""
