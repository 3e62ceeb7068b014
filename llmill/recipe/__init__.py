"""Recipes: a graph of stages in one YAML file, run in order, skipped when nothing they depend on changed.

``llmill run RECIPE.yaml``. ``docs/recipes.md`` describes the file; the modules, in reading order:
``schema`` (the file), ``references`` (``${...}``), ``graph`` (edges, order, validated configurations),
``keys`` (when is a finished stage still good), ``plan`` (run or skip, and why), ``worker`` and ``process``
(one subprocess per stage), ``record`` (``run.json``), ``schedule`` (several stages at once), ``runner`` (the loop),
``summary`` (what is printed).
"""
