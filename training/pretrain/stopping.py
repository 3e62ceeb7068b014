"""Files in scratch/ by which a run is asked to save and end, and says that it did."""

STOP_FILE = "stop"
"""When it appears, the ranks save and end; it holds the name of the signal that came."""
STOPPED_FILE = "stopped.json"
"""Written by a run that was stopped and saved."""
