"""Time as a budget: a table of layers' times on a device, what a plan will take by it, and plans that fit."""
