"""The sections of the HTML report: each makes of the comparison what its part shows."""
