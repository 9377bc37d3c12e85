"""Original and reconstructions next to each other: side-by-side frames, figures and tables."""
