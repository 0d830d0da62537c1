"""How good the diagnosis is: on labelled trainings and variations of them, beside the peers, with one family left out at a time."""
