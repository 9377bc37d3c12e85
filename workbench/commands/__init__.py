"""The commands of `python -m workbench`, a module each: settings in, files and a table out."""
