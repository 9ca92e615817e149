"""A stand-in for GitHub's REST API on loopback: what a release needs, in the process of the test.

    from test.support.github import REPOSITORY, TOKEN, Fault, running_github

    with running_github() as github:
        release = github.add_release(tag="1.2.3", title="1.2.3", body="What is new …")    # a draft, unless draft=False
        dss("update-release", "--release-id", str(release.id), …, env=github.environment())
        github.releases[release.id].body, github.asset(release.id, "SHA256SUMS").data
        github.calls                                        # "PATCH /repos/octo/sandbox/releases/1", in order
        github.inject(Fault("PATCH", "/releases/", status=500, times=2))
        github.inject(Fault("POST", "/assets", effect="drop in the middle"))

One repository, ``REPOSITORY``, with the branch ``main``; ``TOKEN`` may write, ``READ_TOKEN`` may not (and sees no
drafts). Addresses are as on GitHub Enterprise Server: ``/api/v3`` and ``/api/uploads`` on one host.
What it answers comes from GitHub's documentation of its REST API; lists have pages (``per_page``, ``Link``).
"""

from test.support.github.server import running_github
from test.support.github.state import READ_TOKEN, REPOSITORY, TOKEN, Asset, Fault, GitHubStandIn, Release

__all__ = ["READ_TOKEN", "REPOSITORY", "TOKEN", "Asset", "Fault", "GitHubStandIn", "Release", "running_github"]
