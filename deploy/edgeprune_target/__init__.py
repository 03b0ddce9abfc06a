"""The target-side runner: what is copied to a device to measure a model there.

Python 3.8 and up; the standard library, numpy, and whichever runtime the device has. It never imports
``edgeprune``. One request is one process: ``python -m edgeprune_target VERB ...`` (or the same package
packed into one ``.pyz`` file) prints JSON lines, the last of which is the result or the error.
"""

__version__ = "0.1.0"
