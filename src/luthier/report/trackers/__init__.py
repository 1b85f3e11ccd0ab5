"""A comparison in other people's trackers: each technique a run, its artifacts linked."""
