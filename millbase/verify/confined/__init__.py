"""What runs inside the sandbox's process: the standard library only, started as `python -I -S` (see `main`).

Nothing here may import the rest of millbase: no third-party package can be imported where it runs.
"""
