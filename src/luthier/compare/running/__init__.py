"""The running of a comparison: what one run is, how it is made, and the loop over all of them."""
