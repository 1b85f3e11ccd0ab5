"""The tools that ship with Luthier."""
