"""What somebody else made: what may be asked of it, and what it may reach."""
