"""How often a script's cure is found and proved, at what cost, beside remedies drawn at random; how often a race is wrong."""
