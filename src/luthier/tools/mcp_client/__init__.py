"""Servers of the Model Context Protocol: what they offer becomes tools."""
