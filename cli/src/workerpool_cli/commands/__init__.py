"""One module for each command: its help, and what it does."""
