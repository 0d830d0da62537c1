"""What installed packages add by entry point: rules, remedies and engines; the built-in ones enter the same way."""
