"""S3, SSM, STS, quotas and prices."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta

from botocore.config import Config

from test.integration.aws_standin.conftest import UBUNTU, image_of, make_bucket, refused
from test.support.aws import ACCOUNT, Aws

MIB = 1024**2


def test_large_objects_are_copied_by_parts_on_the_server(aws: Aws) -> None:
    s3 = aws.client("s3")
    make_bucket(aws)
    data = bytes(range(256)) * (6 * MIB // 256)
    s3.put_object(Bucket="a-bucket", Key="from", Body=data)
    aws.change(copy_limit_bytes=5 * MIB)
    with refused("InvalidRequest", "larger than the maximum allowable size for a copy source"):
        s3.copy_object(Bucket="a-bucket", Key="to", CopySource="a-bucket/from")
    upload = {"Bucket": "a-bucket", "Key": "to"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    with refused("InvalidRequest"):
        s3.upload_part_copy(**upload, PartNumber=1, CopySource="a-bucket/from")
    with refused("InvalidArgument", f"of size: {6 * MIB}"):
        s3.upload_part_copy(**upload, PartNumber=1, CopySource="a-bucket/from", CopySourceRange=f"bytes=0-{6 * MIB}")
    with refused("NoSuchKey"):
        s3.upload_part_copy(**upload, PartNumber=1, CopySource="a-bucket/none")
    parts = []
    for number, (first, last) in enumerate(((0, 5 * MIB - 1), (5 * MIB, 6 * MIB - 1)), start=1):
        span = f"bytes={first}-{last}"
        copied = s3.upload_part_copy(**upload, PartNumber=number, CopySource="a-bucket/from", CopySourceRange=span)
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="a-bucket", Key="to")["Body"].read() == data


def test_parts_other_than_the_last_have_5_mib(aws: Aws) -> None:
    s3 = aws.client("s3")
    make_bucket(aws)
    upload = {"Bucket": "a-bucket", "Key": "to"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    tags = [s3.upload_part(**upload, PartNumber=number, Body=b"small")["ETag"] for number in (1, 2)]
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
    with refused("EntityTooSmall"):
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def test_unfinished_uploads_are_listed_with_their_age(aws: Aws) -> None:
    s3 = aws.client("s3")
    make_bucket(aws)
    for key in ("a/1", "a/2", "a/3", "b/1"):
        s3.create_multipart_upload(Bucket="a-bucket", Key=key)
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket="a-bucket", Prefix="a/", MaxUploads=2))
    uploads = [each for page in pages for each in page["Uploads"]]
    assert [each["Key"] for each in uploads] == ["a/1", "a/2", "a/3"]
    assert all(abs(datetime.now(UTC) - each["Initiated"]) < timedelta(minutes=1) for each in uploads)
    s3.abort_multipart_upload(Bucket="a-bucket", Key="a/1", UploadId=uploads[0]["UploadId"])
    assert len(s3.list_multipart_uploads(Bucket="a-bucket")["Uploads"]) == 3


def test_a_bucket_of_another_region_is_found_by_redirection(aws: Aws) -> None:
    make_bucket(aws)
    s3 = aws.client("s3", region="us-east-1", journal=True, config=Config(proxies={}))
    s3.put_object(Bucket="a-bucket", Key="k", Body=b"x" * 100_000)
    assert [(call.region, call.status, call.code) for call in aws.calls] == [
        ("us-east-1", 301, "PermanentRedirect"),
        ("eu-central-1", 200, ""),
    ]
    other = aws.client("s3", region="eu-west-1")
    assert other.get_bucket_location(Bucket="a-bucket")["LocationConstraint"] == "eu-central-1"
    s3.close()


def test_buckets_that_are_not_ours(aws: Aws) -> None:
    s3 = aws.client("s3")
    aws.change(foreign_buckets=["theirs"])
    with refused("403"):
        s3.head_bucket(Bucket="theirs")
    with refused("AccessDenied"):
        s3.list_objects_v2(Bucket="theirs")
    with refused("BucketAlreadyExists"):
        make_bucket(aws, "theirs")
    with refused("404"):
        s3.head_bucket(Bucket="nobodys")


def test_a_policy_can_let_everybody_read(aws: Aws) -> None:
    s3 = aws.client("s3")
    make_bucket(aws)
    s3.put_object(Bucket="a-bucket", Key="public/k", Body=b"x")
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::a-bucket/public/*",
    }
    s3.put_bucket_policy(Bucket="a-bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    with urllib.request.urlopen(f"{aws.endpoint}/a-bucket/public/k") as answer:  # noqa: S310
        assert answer.read() == b"x"


def test_public_parameters_name_the_newest_images(aws: Aws) -> None:
    ssm = aws.client("ssm")
    image = image_of(aws, ssm.get_parameter(Name=UBUNTU)["Parameter"]["Value"])
    assert (image["OwnerId"], image["Architecture"], image["State"]) == ("099720109477", "x86_64", "available")
    wanted = [{"Name": "name", "Values": ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"]}]
    found = aws.client("ec2").describe_images(Owners=["099720109477"], Filters=wanted)["Images"]
    assert max(found, key=lambda each: each["CreationDate"])["ImageId"] == image["ImageId"]
    debian = ssm.get_parameters(Names=["/aws/service/debian/release/12/latest/amd64", "/aws/service/none"])
    assert image_of(aws, debian["Parameters"][0]["Value"])["OwnerId"] == "136693071363"
    assert debian["InvalidParameters"] == ["/aws/service/none"]
    assert len(ssm.get_parameters_by_path(Path="/aws/service/debian", Recursive=True)["Parameters"]) == 2
    with refused("ParameterNotFound"):
        ssm.get_parameter(Name="/aws/service/none")


def test_who_asks(aws: Aws) -> None:
    assert aws.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/developer"


def test_quotas(aws: Aws) -> None:
    quotas = aws.client("service-quotas")
    aws.change(quotas={"L-1216C47A": 5.0})
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]["Value"] == 5.0
    assert len(quotas.list_service_quotas(ServiceCode="ec2")["Quotas"]) == 1
    with refused("NoSuchResourceException"):
        quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")


def test_prices(aws: Aws) -> None:
    pricing = aws.client("pricing", region="us-east-1")
    wanted = {"instanceType": "t3.medium", "regionCode": "eu-central-1", "operatingSystem": "Linux"}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    (text,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    (term,) = json.loads(text)["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert (float(dimension["pricePerUnit"]["USD"]), dimension["unit"]) == (0.0416, "Hrs")
    pages = list(pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", MaxResults=10))
    assert [len(page["PriceList"]) for page in pages] == [10, 10, 8]


def test_instance_types_and_pages_of_what_moto_gives_whole(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    found = ec2.describe_instance_types(InstanceTypes=["t3.medium"])["InstanceTypes"][0]
    assert found["VCpuInfo"]["DefaultVCpus"] == 2
    for number in range(7):
        ec2.create_security_group(GroupName=f"g{number}", Description="d")
    pages = list(ec2.get_paginator("describe_security_groups").paginate(MaxResults=5))
    assert [len(page["SecurityGroups"]) for page in pages] == [5, 3]
