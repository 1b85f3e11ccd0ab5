"""Where models lie: the hub, and folders."""
