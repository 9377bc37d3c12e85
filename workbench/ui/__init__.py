"""The app's tabs, built with Gradio. Everything they compute is the library's."""
