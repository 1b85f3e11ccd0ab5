"""The annotation page: one item after the other, for people, by invite link."""
