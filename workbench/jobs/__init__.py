"""What the command line and the app both do with a clip."""
