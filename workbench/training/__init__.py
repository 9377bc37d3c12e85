"""Training of video autoencoders in stages, on one GPU or many; `train.py` is its command line."""
