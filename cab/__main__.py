"""`python -m cab` is `cab`."""

from cab.commands.app import main

if __name__ == "__main__":
    main()
