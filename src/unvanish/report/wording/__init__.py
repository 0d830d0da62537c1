"""Words and numbers for people: formats of numbers, plain explanations, places in source, the glossary."""
