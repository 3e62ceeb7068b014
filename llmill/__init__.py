"""llmill's top: the command line, recipes, run records, lineage, the report and the chat.

Imports the three parts (``data_pipeline``, ``training``, ``evaluation``) and is imported by none of them.
"""

import millbase  # noqa: F401  (sets the offline environment before any stage's library is imported)
