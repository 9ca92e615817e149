"""Journal, faults, permissions and credentials."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError

from test.integration.aws_standin.conftest import (
    image_of,
    instance_of,
    make_bucket,
    make_role,
    refused,
    specification,
    ubuntu,
    until,
)
from test.support.aws import DENIED, EXPIRED, REGION, THROTTLED, Aws, Call, ClientFault, Fault, Image
from test.support.aws.standin import PRODUCT_KEY

_TWO_CALLS = "import boto3; e = boto3.client('ec2'); e.describe_regions(); e.describe_vpcs()"
_SIGNED = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={PRODUCT_KEY}/20260101/{REGION}/s3/aws4_request, "
    "SignedHeaders=host, Signature=x"
}
_WORDS = {
    ("ec2", "describe_vpcs"): ("RequestLimitExceeded", "RequestExpired", "UnauthorizedOperation", "AuthFailure"),
    ("s3", "list_buckets"): ("SlowDown", "ExpiredToken", "AccessDenied", "InvalidAccessKeyId"),
    ("sts", "get_caller_identity"): ("Throttling", "ExpiredToken", "AccessDenied", "InvalidClientTokenId"),
    ("cloudformation", "list_stacks"): ("Throttling", "ExpiredToken", "AccessDenied", "InvalidClientTokenId"),
    ("iam", "list_roles"): ("Throttling", "ExpiredToken", "AccessDenied", "InvalidClientTokenId"),
    ("ssm", "describe_parameters"): (
        "ThrottlingException",
        "ExpiredTokenException",
        "AccessDeniedException",
        "UnrecognizedClientException",
    ),
}


def test_the_journal_has_the_products_calls_with_their_parameters(aws: Aws) -> None:
    aws.client("ec2").describe_vpcs()
    ec2 = aws.client("ec2", journal=True)
    ec2.create_key_pair(KeyName="mine", TagSpecifications=specification("key-pair"))
    with refused("InvalidKeyPair.Duplicate"):
        ec2.create_key_pair(KeyName="mine")
    make_bucket(aws)
    aws.client("s3", journal=True).put_object(Bucket="a-bucket", Key="folder/key", Body=b"x")
    first, second, third = aws.calls
    assert (first.name, first.status, first.code, first.effect) == ("ec2:CreateKeyPair", 200, "", True)
    assert first.parameters["TagSpecifications"] == specification("key-pair")
    assert (second.status, second.code, second.effect) == (400, "InvalidKeyPair.Duplicate", False)
    assert third.name == "s3:PutObject"
    assert (third.parameters["Bucket"], third.parameters["Key"]) == ("a-bucket", "folder/key")


@pytest.mark.parametrize(("service", "operation"), _WORDS)
def test_errors_in_the_words_of_each_service(aws: Aws, service: str, operation: str) -> None:
    throttled, expired, denied, unknown = _WORDS[service, operation]
    call = getattr(aws.client(service, journal=True), operation)
    aws.inject(Fault(code=THROTTLED), Fault(code=EXPIRED, nth=2), Fault(code=DENIED, nth=3))
    for code in (throttled, expired, denied):
        with refused(code):
            call()
    call()
    if operation != "get_caller_identity":  # AWS: "No permissions are required to perform this operation"
        aws.change(denied=[f"{service}:*"])
        with refused(denied, "not authorized to perform", f"{service}:"):
            call()
    aws.change(denied=[], expired_keys=[PRODUCT_KEY])
    with refused(expired):
        call()
    aws.change(expired_keys=[], unknown_keys=[PRODUCT_KEY])
    with refused(unknown):
        call()


def test_permissions_are_named_as_in_policies(aws: Aws) -> None:
    s3 = aws.client("s3", journal=True)
    make_bucket(aws)
    aws.change(denied=["s3:ListBucket", "s3:PutObject"])
    with refused("AccessDenied", "s3:ListBucket"):
        s3.list_objects_v2(Bucket="a-bucket")
    with refused("AccessDenied", "s3:PutObject"):
        s3.create_multipart_upload(Bucket="a-bucket", Key="k")
    with refused("403"):
        s3.head_bucket(Bucket="a-bucket")
    s3.get_bucket_location(Bucket="a-bucket")
    permissions = [call.permission for call in aws.calls]
    assert permissions == ["s3:ListBucket", "s3:PutObject", "s3:ListBucket", "s3:GetBucketLocation"]


def test_lost_answers_are_asked_for_again(aws: Aws) -> None:
    """With the SDK's own token nothing is made twice; CreateImage has none, and meets its own first try."""
    config = Config(retries={"total_max_attempts": 3, "mode": "standard"})
    ec2 = aws.client("ec2", journal=True, config=config)
    image_id = ubuntu(aws)
    aws.inject(Fault(action="RunInstances", moment="after", effect="drop"))
    made = ec2.run_instances(ImageId=image_id, InstanceType="t3.medium", MinCount=1, MaxCount=1)["Instances"]
    found = [each for shown in ec2.describe_instances()["Reservations"] for each in shown["Instances"]]
    assert [each["InstanceId"] for each in found] == [made[0]["InstanceId"]]
    until(lambda: instance_of(aws, made[0]["InstanceId"])["State"]["Name"] == "running")
    aws.inject(Fault(action="CreateImage", moment="after", effect="drop"))
    with refused("InvalidAMIName.Duplicate"):
        ec2.create_image(InstanceId=made[0]["InstanceId"], Name="sandbox")
    images = ec2.describe_images(Owners=["self"])["Images"]
    assert [each["Name"] for each in images] == ["sandbox"]
    make_bucket(aws)
    make_role(aws)
    until(lambda: image_of(aws, images[0]["ImageId"])["State"] == "available")
    aws.inject(Fault(action="ExportImage", moment="after", effect="drop"))
    location = {"S3Bucket": "a-bucket"}
    ec2.export_image(ImageId=images[0]["ImageId"], DiskImageFormat="RAW", S3ExportLocation=location)
    assert len(ec2.describe_export_image_tasks()["ExportImageTasks"]) == 1
    assert aws.actions().count("ec2:ExportImage") == 2
    ec2.close()


def test_a_fault_hits_the_nth_call_that_matches_as_often_as_it_says(aws: Aws) -> None:
    ec2 = aws.client("ec2", journal=True)
    aws.inject(Fault(action="ec2:DescribeVpcs", nth=2, times=2, code="Unavailable", status=503))
    ec2.describe_vpcs()
    ec2.describe_regions()
    for _ in range(2):
        with refused("Unavailable"):
            ec2.describe_vpcs()
    ec2.describe_vpcs()
    assert [call.fault for call in aws.calls] == [None, None, 0, 0, None]


@pytest.mark.parametrize("effect", ["error", "drop"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_before_a_call_has_no_effect_and_after_it_has(aws: Aws, moment: str, effect: str) -> None:
    ec2 = aws.client("ec2", journal=True)
    aws.inject(Fault(action="CreateKeyPair", moment=moment, effect=effect))  # type: ignore[arg-type]
    if effect == "drop":
        with pytest.raises(ConnectionClosedError):
            ec2.create_key_pair(KeyName="mine")
    else:
        with refused("RequestLimitExceeded"):
            ec2.create_key_pair(KeyName="mine")
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == (moment == "after")
    assert aws.calls[0].effect == (moment == "after")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_uploads_that_are_dropped(aws: Aws, moment: str) -> None:
    make_bucket(aws)
    s3 = aws.client("s3", journal=True)
    aws.inject(Fault(action="PutObject", moment=moment, effect="drop"))  # type: ignore[arg-type]
    with pytest.raises(ConnectionClosedError):
        s3.put_object(Bucket="a-bucket", Key="k", Body=b"x" * 100_000)
    assert ("Contents" in s3.list_objects_v2(Bucket="a-bucket")) == (moment == "after")


def test_the_sdk_sends_again_and_each_attempt_is_in_the_journal(aws: Aws) -> None:
    ec2 = aws.client("ec2", journal=True, config=Config(retries={"total_max_attempts": 3, "mode": "standard"}))
    aws.inject(Fault(action="DescribeVpcs", effect="drop"))
    ec2.describe_vpcs()
    assert aws.actions() == ["ec2:DescribeVpcs"] * 2
    ec2.close()


def test_a_hook_is_called_with_the_call(aws: Aws) -> None:
    heard: list[Call] = []
    aws.inject(Fault(action="CreateKeyPair", moment="after", effect="hook", hook=heard.append))
    aws.client("ec2", journal=True).create_key_pair(KeyName="mine")
    assert [(call.name, call.parameters["KeyName"], call.effect) for call in heard] == [
        ("ec2:CreateKeyPair", "mine", True)
    ]


def test_what_the_stand_in_lacks_is_an_error_and_no_web_page(aws: Aws) -> None:
    with refused("InvalidAction", "the stand-in lacks ec2:DescribeFpgaImages"):
        aws.client("ec2").describe_fpga_images()


def test_reset_empties_all(aws: Aws) -> None:
    aws.client("ec2", journal=True).create_key_pair(KeyName="mine")
    aws.plant(Image(name="planted"))
    aws.change(sold_out=["*"])
    aws.inject(Fault())
    aws.reset()
    ec2 = aws.client("ec2", journal=True)
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert aws.actions() == ["ec2:DescribeKeyPairs", "ec2:DescribeImages"]


def _run(aws: Aws, folder: Path, *faults: ClientFault, code: str = _TWO_CALLS) -> tuple[int, list[str]]:
    journal = folder / "journal"
    journal.unlink(missing_ok=True)
    environment = {"PATH": "/usr/bin:/bin", **aws.environment(client_faults=faults, client_journal=journal)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60)
    return done.returncode, journal.read_text().split() if journal.exists() else []


def test_an_unchanged_program_is_killed_before_or_after_a_call(aws: Aws, tmp_path: Path) -> None:
    assert _run(aws, tmp_path) == (0, ["ec2:DescribeRegions", "ec2:DescribeVpcs"])
    aws.clear()
    assert _run(aws, tmp_path, ClientFault(do="kill-before", nth=2))[0] == -9
    assert aws.actions() == ["ec2:DescribeRegions"]
    aws.clear()
    assert _run(aws, tmp_path, ClientFault(do="kill-after", action="DescribeVpcs"))[0] == -9
    assert aws.actions() == ["ec2:DescribeRegions", "ec2:DescribeVpcs"]
    assert _run(aws, tmp_path, ClientFault(do="reset", nth=2)) == (
        0,
        ["ec2:DescribeRegions", "ec2:DescribeVpcs", "ec2:DescribeVpcs"],
    )


def test_a_profile_instead_of_keys(aws: Aws, tmp_path: Path) -> None:
    end = datetime.now(UTC) + timedelta(minutes=30)
    code = (
        "import boto3; s = boto3.Session(); s.client('ec2').describe_vpcs();"
        "print(s.region_name, s.get_credentials()._expiry_time.isoformat())"
    )
    environment = {"PATH": "/usr/bin:/bin", **aws.profile(tmp_path, expires=end)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [REGION, end.isoformat()]
    assert aws.actions() == ["ec2:DescribeVpcs"]


def test_client_faults_import_no_botocore_by_themselves(aws: Aws, tmp_path: Path) -> None:
    code = "import sys; sys.exit('botocore' in sys.modules)"
    assert _run(aws, tmp_path, ClientFault(do="kill-before"), code=code) == (0, [])


def test_strangers_get_nothing(aws: Aws) -> None:
    make_bucket(aws)
    aws.client("s3").put_object(Bucket="a-bucket", Key="k", Body=b"x")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{aws.endpoint}/a-bucket/k")  # noqa: S310
    assert caught.value.code == 403
    caught.value.close()
    url = aws.client("s3").generate_presigned_url("get_object", Params={"Bucket": "a-bucket", "Key": "k"})
    with urllib.request.urlopen(url) as answer:  # noqa: S310
        assert answer.read() == b"x"


def test_a_connection_is_kept_for_the_next_request(aws: Aws) -> None:
    """Also after a refusal of a request whose body nobody has looked at."""
    make_bucket(aws)
    host, _, port = aws.endpoint.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    seen = []
    for path, status in (("/a-bucket/k", 200), ("/no-such-bucket/k", 404), ("/a-bucket/k", 200)):
        connection.request("PUT", path, body=bytes(100_000), headers=_SIGNED)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.getheader("Connection")) == (status, None), path
        assert connection.sock, path
        seen.append(connection.sock.getsockname())
    connection.close()
    assert len(set(seen)) == 1
    assert aws.actions() == ["s3:PutObject"] * 3


def test_a_request_that_breaks_off_has_not_been_made(aws: Aws) -> None:
    """Of a run that is killed while it sends a part."""
    make_bucket(aws)
    s3 = aws.client("s3")
    upload = s3.create_multipart_upload(Bucket="a-bucket", Key="k")["UploadId"]
    host, _, port = aws.endpoint.removeprefix("http://").partition(":")
    head = f"PUT /a-bucket/k?partNumber=1&uploadId={upload} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in _SIGNED.items()) + "\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(head.encode() + bytes(999))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert aws.calls == []
    assert "Parts" not in s3.list_parts(Bucket="a-bucket", Key="k", UploadId=upload)


def test_a_part_of_an_upload_that_is_over(aws: Aws) -> None:
    make_bucket(aws)
    s3 = aws.client("s3")
    upload = {"Bucket": "a-bucket", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=b"first")
    assert part["ETag"] == f'"{hashlib.md5(b"first", usedforsecurity=False).hexdigest()}"'
    listed = s3.list_parts(**upload)["Parts"]
    assert [(each["PartNumber"], each["Size"], each["ETag"]) for each in listed] == [(1, 5, part["ETag"])]
    s3.abort_multipart_upload(**upload)
    with refused("NoSuchUpload"):
        s3.upload_part(**upload, PartNumber=2, Body=b"second")


def test_it_ends_with_the_test_run() -> None:
    script = (
        "import time\n"
        "from test.support.aws import running_aws\n"
        "with running_aws() as aws:\n    print(aws.endpoint, aws.folder, flush=True)\n    time.sleep(60)\n"
    )
    repository = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", script], cwd=repository, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        endpoint, folder = process.stdout.readline().split()
        process.kill()

    def gone() -> bool:
        try:
            urllib.request.urlopen(f"{endpoint}/_control/calls", timeout=5).close()  # noqa: S310
        except (urllib.error.URLError, ConnectionError):
            return True
        return False

    start = time.monotonic()
    until(gone)
    until(lambda: not Path(folder).exists())
    assert time.monotonic() - start < 5


def test_parts_of_megabytes(aws: Aws) -> None:
    """They are kept as they came: their sums are looked at, and the object is read across them."""
    make_bucket(aws)
    s3 = aws.client("s3")
    upload = {"Bucket": "a-bucket", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    data = [random.Random(number).randbytes(size) for number, size in enumerate((5 << 20, 6 << 20, 999))]
    with refused("BadDigest"):
        s3.upload_part(**upload, PartNumber=1, Body=data[0], ChecksumCRC32="AAAAAA==")
    tags = [s3.upload_part(**upload, PartNumber=at, Body=each)["ETag"] for at, each in enumerate(data, start=1)]
    assert len(set(tags)) == 3
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
    with refused("InvalidPart"):
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{**parts[0], "ETag": tags[1]}]})
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    whole = b"".join(data)
    for again in range(2):
        assert s3.get_object(Bucket="a-bucket", Key="k")["Body"].read() == whole, again
    edge = (11 << 20) - 3
    found = s3.get_object(Bucket="a-bucket", Key="k", Range=f"bytes={edge}-{edge + 9}")
    assert found["Body"].read() == whole[edge : edge + 10]
    s3.copy_object(Bucket="a-bucket", Key="copy", CopySource="a-bucket/k")
    assert s3.head_object(Bucket="a-bucket", Key="copy")["ContentLength"] == len(whole)
    s3.delete_object(Bucket="a-bucket", Key="k")
    assert s3.get_object(Bucket="a-bucket", Key="copy")["Body"].read() == whole
