"""Where trials run: an engine takes trials and gives back a result for each that ended. It decides nothing about them."""
