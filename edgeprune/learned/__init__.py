"""The learned method: masks learned from the network's own outputs, and the controller that follows the budget."""
