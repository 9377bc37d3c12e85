"""Networks and weights brought to this machine, whole or not at all; nothing in them is ever run."""
