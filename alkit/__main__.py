"""`python -m alkit`: the command `alkit`."""

from alkit.cli import main

if __name__ == "__main__":
    main()
