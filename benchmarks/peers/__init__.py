"""The peers, each with the best settings found for it. Installed by `make bench`, never by us."""
