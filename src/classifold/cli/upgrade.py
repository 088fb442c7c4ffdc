"""`classifold upgrade`: renew the files of a project that come from the package."""

from pathlib import Path

from classifold.cli.errors import report_errors


@report_errors()
def upgrade() -> None:
    """Renew a project after the package was upgraded; then 'dvc repro' runs what changed.

    The files in code/ get the hashes of the installed code, so that DVC runs again exactly the
    stages whose code changed. Commit them. A dvc.yaml that you changed is kept.
    """
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import require_project
    from classifold.project.upgrade import upgrade as renew

    require_project()
    changes = list(renew(Path()))
    for line in changes:
        print(line)
    if not changes:
        print("Nothing changed.")
    check_params()  # the schema may have changed, too
