"""The recipe behind ``nano``: data, teacher, tokenizer, training, evaluation and export."""
