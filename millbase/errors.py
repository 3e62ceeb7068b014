"""Errors a user can cause. Each message is one line: the value, what was expected, and the fix.

The command line prints them as ``error: ...`` without a traceback and exits with status 2. Broken
invariants of our own are plain assertions, and do show a traceback.
"""

EXIT_INTERRUPTED = 75
"""sysexits.h EX_TEMPFAIL: a scheduler may start the same command again."""


class UserError(Exception):
    """Base of everything a user can cause and mend."""


class ConfigError(UserError):
    """A configuration file or override that does not fit its class."""


class InputError(UserError):
    """Input data that is missing, empty or unreadable."""


class ArtifactError(UserError):
    """An artifact directory that is missing, of the wrong kind, or changed since it was written."""


class Submitted(UserError):  # noqa: N818 - it is none
    """No mistake: the work was handed to a cluster and goes on there. The command line prints it and exits with 0."""


class Interrupted(UserError):  # noqa: N818 - it is none
    """Work that was stopped on request, all of it saved: the same command continues it (`EXIT_INTERRUPTED`)."""


class StageError(UserError):
    """A stage that failed as a whole: too many bad records, a dead worker, a diverged loss."""
