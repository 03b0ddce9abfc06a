"""Found by ``import tensorrt`` in child processes of tests: the version that the environment names."""

import os
import sys

from trt.stand_in import make

sys.modules[__name__] = make(os.environ["STAND_IN_TENSORRT"])
