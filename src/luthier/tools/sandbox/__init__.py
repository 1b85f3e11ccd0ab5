"""Code of a model runs where it can do no harm, or not at all."""

from luthier.tools.sandbox.bubblewrap import Confined, confinement, run_confined
from luthier.tools.sandbox.python_code import PythonCode

__all__ = ["Confined", "PythonCode", "confinement", "run_confined"]
