"""Training of video autoencoders in two stages, on one GPU or many; `train.py` is its command line."""
