"""Techniques that look things up in documents.

rag              passages are looked up and stand before the input
raft             a model is trained to answer out of passages
query_map        the search itself is trained
search_settings  how to cut and search the documents, settled on dev
task_index       the index of a task's documents
unread           documents that an index could not take in
"""
