"""Validate `params.yaml`; `dvc.yaml` runs this before a command that contains a model's name."""

import sys

from classifold.errors import UserError
from classifold.params.validation import check_params
from classifold.plain_text import plain_text

if __name__ == "__main__":
    try:
        check_params()
    except (UserError, OSError) as error:
        sys.exit(plain_text(str(error)))
