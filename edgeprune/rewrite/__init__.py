"""Cut a network in place: its class and code stay, its tensors shrink; what must change is one module's forward."""
