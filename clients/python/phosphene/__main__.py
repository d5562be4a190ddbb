"""`python -m phosphene` is the command `phosphene`."""

from phosphene.cli import main

if __name__ == "__main__":
    main()
