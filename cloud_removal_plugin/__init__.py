"""Cloud Removal: a QGIS Processing plugin that restores what clouds and shadows hide."""


def classFactory(iface):
    """Entry point that QGIS calls; ``iface`` is None in ``qgis_process``."""
    from .plugin import CloudRemovalPlugin

    return CloudRemovalPlugin(iface)
