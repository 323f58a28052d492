"""Floor 3: runs a :class:`~cloud_removal_plugin.engine.job.Job` over rasters, here or in a worker process."""
