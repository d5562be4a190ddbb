"""The importers: each reads one file format into a ModelGraph without running any code from the file."""
