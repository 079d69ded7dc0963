"""Build the view of a project in Weights & Biases: panels of all that training logs, in sections.

    python experiments/dashboard.py ENTITY/PROJECT [--name NAME] [--save]

Without ``--save`` the view is printed as the JSON that would be sent, and nothing is; with it, its address is printed.
Needs ``pip install 'chatmusician[dashboards]'``, and a key of wandb's to save.
"""

import argparse
import sys

from chatmusician.dashboards.workspace import build_workspace
from chatmusician.errors import UserError


def main() -> None:
    """Build the view, and print or save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where the runs are")
    parser.add_argument("--name", default="ChatMusician", help="of the view")
    parser.add_argument("--save", action="store_true", help="send it")
    arguments = parser.parse_args()
    entity, slash, project = arguments.project.partition("/")
    if not (entity and slash and project) or "/" in project:
        parser.error(f"{arguments.project!r} is not ENTITY/PROJECT")
    try:
        workspace = build_workspace(entity=entity, project=project, name=arguments.name)
    except UserError as error:
        sys.exit(f"error: {error}")
    if arguments.save:
        print(workspace.save().url)
    else:
        print(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1))


if __name__ == "__main__":
    main()
