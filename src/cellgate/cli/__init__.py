"""The command line: one file a verb, registered in app.py."""
