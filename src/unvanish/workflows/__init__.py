"""The jobs that a person asks for, put together from the packages below: watch, check, fix a script, fix a function."""
