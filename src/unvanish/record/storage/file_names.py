"""Names of the files in a run's folder. Imports nothing, so that it can be imported before the user's script runs."""

RUN_FILE = "run.sqlite"  # the record of the run, or of a trial
PAGE_FILE = "report.html"
PATCH_FILE = "unvanish.patch"
RANKS_FOLDER = "ranks"  # in a run's folder: the records of the single processes, where several trained
