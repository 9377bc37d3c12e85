"""What is done with a clip for whoever asks, the app or the command line. Knows nothing of pages."""
