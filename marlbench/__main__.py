"""`python -m marlbench`."""

from marlbench.cli import main

if __name__ == "__main__":
    main()
