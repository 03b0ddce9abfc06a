"""The target-side runner: the package that is copied to a device to measure a model there.

It needs Python 3.8 or later, the standard library, numpy, and the device's runtime. It never imports
``edgeprune``. One request is one process: ``python -m edgeprune_target VERB ...`` (or the same package
packed into one ``.pyz`` file) prints JSON lines, the last of which is the result or the error.
"""

__version__ = "0.1.0"
