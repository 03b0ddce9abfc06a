"""What losing channels does to a network's outputs, without labels."""
