"""Episodes about a text that is given, and questions made of its sentences."""
