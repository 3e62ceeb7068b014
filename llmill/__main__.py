"""``python -m llmill`` is the ``llmill`` command."""

from llmill.cli import main

if __name__ == "__main__":
    main()
