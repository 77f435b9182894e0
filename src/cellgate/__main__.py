"""`python -m cellgate`, for where the command is not on the path."""

from cellgate.cli.start import main

if __name__ == "__main__":
    main()
