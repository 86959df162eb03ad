"""`python -m cab` is `cab`."""

from cab.commands.program import main

if __name__ == "__main__":
    main()
