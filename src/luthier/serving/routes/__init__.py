"""The pages of the API, one file for each."""
