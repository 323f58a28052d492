"""Floor 4: how results look, what the plugin remembers about this computer, and its page in the options."""
