"""Adapters beside the weights of a base: one for a session, or several in one batch."""
