"""Virtual time: what takes hours in AWS runs here in milliseconds, and the same way each time."""
