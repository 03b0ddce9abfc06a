"""Found by ``import pycuda`` in child processes of tests."""
