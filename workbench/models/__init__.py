"""The autoencoders and their parts; `registry` has them by name."""
