"""Bounds of numbers: what is more than any machine or data set has use for is a slip of the keyboard."""

from edgeprune.options.checks import Count, Duration, Quantity

EPOCHS = Count(1, 100_000)
STEPS = Count(1, 1_000_000_000)
IMAGES_PER_BATCH = Count(1, 65_536)
BATCHES = Count(1, 1_000_000)
CHANNELS = Count(1, 65_536)
THREADS = Count(1, 1_024)
WORKERS = Count(0, 1_024)
PIXELS = Count(1, 8_192)
CLASSES = Count(1, 100_000)
IMAGES = Count(1, 10_000_000)
SEED = Count(0, 2**31 - 1)
RATE = Quantity(0, 100, open_low=True)
SHARE = Quantity(0, 1)
SHARE_BELOW_ONE = Quantity(0, 1, open_high=True)
PROPER_SHARE = Quantity(0, 1, open_low=True, open_high=True)
SECONDS = Quantity(0, 86_400, open_low=True)
LASTING = Duration(60, 86_400)
CELSIUS = Quantity(0, 150)
MAX_ELEMENTS = 100_000_000  # of one example: 400 MB in fp32
