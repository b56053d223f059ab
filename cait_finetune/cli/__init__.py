"""The command line: composed configurations, keys, help and error messages."""
