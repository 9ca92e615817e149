"""``python -m test.support.aws.server OPTIONS``: serves until it is ended. OPTIONS: base64 of JSON, see ``standin``."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path


def main() -> None:
    options = json.loads(base64.b64decode(sys.argv[1]))
    os.environ.update(
        MOTO_EC2_LOAD_DEFAULT_AMIS="false",
        MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="true",
        AWS_DEFAULT_REGION="us-east-1",
    )
    from werkzeug.serving import make_server

    from test.support.aws.server import (
        catalogue,
        codebuild,
        ebs,
        ec2_exports,
        ec2_instances,
        ec2_rest,
        market,
        s3,
        s3_uploads,
    )
    from test.support.aws.server.cloudformation import api, change_sets, kinds_codebuild, kinds_edge
    from test.support.aws.server.connections import Connection
    from test.support.aws.server.front import Front
    from test.support.aws.server.world import World

    assert all(
        (
            api,
            catalogue,
            change_sets,
            codebuild,
            ebs,
            ec2_exports,
            ec2_instances,
            ec2_rest,
            kinds_codebuild,
            kinds_edge,
            market,
            s3,
            s3_uploads,
        )
    )  # they register their handlers

    world = World(
        settings=options["settings"],
        callbacks=options["callbacks"],
        machines=options["machines"],
        imaging=options["imaging"],
        folder=Path(options["folder"]),
    )
    threading.Thread(target=_end_with_parent, args=(os.getppid(), Path(options["folder"])), daemon=True).start()
    make_server("127.0.0.1", options["port"], Front(world), threaded=True, request_handler=Connection).serve_forever()


def _end_with_parent(parent: int, folder: Path) -> None:
    """A test run that is killed leaves no server behind, and no folder of it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


main()
