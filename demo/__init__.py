"""A made-up but realistic scene, and the driver that shows what the plugin makes of it (``make demo``)."""
