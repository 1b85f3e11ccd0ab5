"""Answers for a whole file, without a server: read the rows, answer them, write them.

`prediction_rows` reads, `prediction_journal` keeps what was answered so that a kill loses nothing,
`prediction_output` writes, and `predict_file` does all of it.
"""
