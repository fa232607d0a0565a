"""The command line: one thin Typer app; every command imports what it needs when it is called."""
