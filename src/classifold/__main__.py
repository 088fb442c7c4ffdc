"""`python -m classifold`: the command line."""

from classifold.cli import app

app(prog_name="python -m classifold")
