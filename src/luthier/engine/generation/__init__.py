"""Writing answers token by token.

generation   requests of one adaptation come in, answers go out
slots        rows of a decoder-only model, each with its keys and values in a slot of its own
encoded      rows of an encoder–decoder, which start and step together
constraint   which tokens a grammar lets come next
choice       from log-probabilities to one token: mixing, guidance, constraint, sampling
loop         rows come in, step, end and make room
"""
