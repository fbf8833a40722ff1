"""The command line of `python -m accel`: options, printers, one file a command."""
