"""`python -m classifold`: the command line."""

from classifold.cli.app import app

if __name__ == "__main__":  # processes that are started anew read this module, too
    app(prog_name="classifold")
