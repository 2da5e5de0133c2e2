"""`python -m kcircuits` is the command `kcircuits`."""

from kcircuits.cli import main

if __name__ == "__main__":
    main()
