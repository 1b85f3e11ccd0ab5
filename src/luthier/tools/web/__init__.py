"""The web as tools: pages and search. No request reaches a private network unless the user named
the address."""
