"""python -m lstm_edge: the command line."""

from .cli import main

if __name__ == "__main__":
    main()
