"""How sure can one be? Intervals, resampling and paired tests."""
