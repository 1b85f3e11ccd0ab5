"""Training soft prompts and prefixes: what does not depend on them is computed once, and many
trials train at a time.

trials             the trials of soft prompts: a forward pass for all of them
prefixes           the same for prefixes of keys and values, and where these start
strategies         how virtual tokens after the input, before it, or as keys and values are run
initialization     where virtual tokens start: at words, or at demonstrations
cached_inputs      the keys and values of inputs, computed once
batched_forward    one forward pass for many soft prompts
cached_attention   attention of new tokens to cached ones, where these lie
last_layer         the last layer, run for the columns that are read
prefill            keys and values of rows of ids
past_key_values    the records of keys and values
"""
