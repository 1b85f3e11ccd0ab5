"""Intervals, resampling, paired tests."""
