"""Video Autoencoder Workbench: reconstruct, train, inspect and compare video autoencoders.

The public names are those of `__init__.pyi`. Each is imported when it is first used: torch takes seconds, and a slip on
the command line is told without it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
