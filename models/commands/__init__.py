"""One module a command, named like it. Whatever takes long to import is imported where it is used."""
