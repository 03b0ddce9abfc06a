"""``python -m edgeprune``: the command line, as torchrun and accelerate launch start it."""

from edgeprune.cli import main

if __name__ == "__main__":
    main()
