"""How does it adapt? One file and one frozen dataclass a technique; `base` is the contract."""
