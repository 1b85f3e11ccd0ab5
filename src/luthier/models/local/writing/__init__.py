"""Writing answers token by token.

slots        rows of a decoder-only model, each with its keys and values in a slot of its own
encoded      rows of an encoder–decoder, which start and step together
masks        attention masks for rows of different length and for sliding windows
constraint   which tokens a grammar lets come next
choice       from log-probabilities to one token: mixing, guidance, constraint, sampling
loop         rows come in, step, end and make room
"""
