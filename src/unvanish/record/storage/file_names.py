"""Names of the files in a run's folder. Imports nothing, so that it can be imported before the user's script runs."""

RUN_FILE = "run.sqlite"  # the record of the run, or of a trial
PAGE_FILE = "report.html"
PATCH_FILE = "unvanish.patch"
