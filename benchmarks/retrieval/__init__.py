"""Retrieval, measured: re-indexing, stores, ingest."""
