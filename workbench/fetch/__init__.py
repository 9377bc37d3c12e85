"""Networks and weights brought to this machine, whole or not at all; nothing in them is ever run."""

from workbench.fetch.hub import fetch_weights
from workbench.fetch.run import Item, fetch_network, items

__all__ = ["Item", "fetch_network", "fetch_weights", "items"]
