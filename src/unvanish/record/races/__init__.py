"""What is recorded of a race: candidates, plans, results of trials and verdicts, and the races stored with the package."""
