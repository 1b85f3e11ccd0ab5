"""Doing it: what is one run, how it is made, and the loop over all of them."""
