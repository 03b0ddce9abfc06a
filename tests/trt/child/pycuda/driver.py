"""The stand-in."""

from trt.fake_pycuda import *  # noqa: F403
