"""The main operations, put together from the packages below: watch, trace, check, fix a script, fix a function."""
