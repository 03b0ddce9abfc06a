"""Apply a keep-plan: a dense network that computes what the masked one computes, or the masked one itself."""

from edgeprune.graph.copying import copy_module
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.masking import mask

__all__ = ["Compacted", "compact", "copy_module", "mask"]
