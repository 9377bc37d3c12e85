"""What only the notebooks use: pictures and figures that explain."""
