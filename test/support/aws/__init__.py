"""A stand-in for AWS: moto's server in a process of its own, with what moto lacks, over HTTP on loopback.

    from test.support.aws import EXPIRED, Fault, Image, Machine, running_aws

    with running_aws() as aws:
        dss("create-vm", "--builder", "ec2", …, env=aws.environment())      # an unchanged child process
        aws.client("ec2").describe_images(Owners=["self"])                   # the test's own look; not in the journal
        aws.calls                                                            # every call of the product, in order
        aws.inject(Fault(action="CreateImage", moment="after", effect="drop"))
        aws.change(sold_out=["t3.*"], image_pending_s=0.5, denied=["ec2:RunInstances"])
        aws.plant(Image(name="a Marketplace image", owner="679593333241", product_code="abc"))   # -> its id
        aws.reset()                                                          # an empty account again; settings, too

A real machine behind each instance: ``running_aws(on_instance=…, on_termination=…)``; ``on_instance`` gets a
``Started`` and returns a ``Machine`` (its address becomes the instance's public IP address and DNS name) once it
answers. Without it instances have addresses in 127.77.0.0/16 at which nobody listens. ``on_image`` hears of images
that are made of instances, and may return the raw disk that their exports consist of (else ``disk_file`` of the
settings). ``machines.real_machines`` has all three, with containers.

Time: durations are settings (``instance_pending_s`` …). ``aws.change(held=["images"])`` stops a kind of progress until
``held=[]``: what a test does in between is sure to happen while something is pending.

Faults on the client's side (SIGKILL of the product before or after a call): ``aws.environment(client_faults=[…])``,
see ``client_faults/sitecustomize.py``. ``aws.profile(folder)`` is an environment with a profile instead of keys.

What there is at the start: Canonical's Ubuntu 22.04 and 24.04 and Debian's 12 and 13 with their public SSM
parameters, the default VPC of each region, no bucket, no role. One account, ``ACCOUNT``.
"""

from test.support.aws.rules import DENIED, EXPIRED, THROTTLED, Call, Fault, Image, Imaged, Machine, Settings, Started
from test.support.aws.standin import ACCOUNT, REGION, Aws, ClientFault, running_aws

__all__ = [
    "ACCOUNT",
    "DENIED",
    "EXPIRED",
    "REGION",
    "THROTTLED",
    "Aws",
    "Call",
    "ClientFault",
    "Fault",
    "Image",
    "Imaged",
    "Machine",
    "Settings",
    "Started",
    "running_aws",
]
