"""`python -m engine.cli`: the same as the command `replug`."""

from engine.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
