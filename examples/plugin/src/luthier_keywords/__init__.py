"""An example of a package that extends Luthier: a technique, a scorer and a backend."""
