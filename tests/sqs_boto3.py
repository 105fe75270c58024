"""Uses an SQS the way a Python producer does, with boto3, and checks every digest by itself.

usage: sqs_boto3.py ENDPOINT
"""

import hashlib
import struct
import sys

import boto3

sqs = boto3.client("sqs", endpoint_url=sys.argv[1], region_name="us-east-1",
                   aws_access_key_id="test", aws_secret_access_key="test")


def md5_of_attributes(attributes):
    digest = hashlib.md5()

    def add(value):
        digest.update(struct.pack("!I", len(value)) + value)

    for name in sorted(attributes):
        value = attributes[name]
        add(name.encode())
        add(value["DataType"].encode())
        if "StringValue" in value:
            digest.update(b"\x01")
            add(value["StringValue"].encode())
        else:
            digest.update(b"\x02")
            add(value["BinaryValue"])
    return digest.hexdigest()


def check(got, expected):
    assert got == expected, f"{got!r} is not {expected!r}"


url = sqs.create_queue(QueueName="boto3", Attributes={"VisibilityTimeout": "60"}, tags={"a": "b"})["QueueUrl"]
check(sqs.get_queue_url(QueueName="boto3")["QueueUrl"], url)
check(sqs.list_queues(QueueNamePrefix="boto")["QueueUrls"], [url])
check(sqs.list_queue_tags(QueueUrl=url)["Tags"], {"a": "b"})

attributes = {
    "traceparent": {"DataType": "String", "StringValue": "00-é-01"},
    "n": {"DataType": "Number.float", "StringValue": "1.5"},
    "raw": {"DataType": "Binary.gzip", "BinaryValue": bytes(range(256))},
}
trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}}
body = 'héllo "world" 😀\n'
sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes=trace)
check(sent["MD5OfMessageBody"], hashlib.md5(body.encode()).hexdigest())
check(sent["MD5OfMessageAttributes"], md5_of_attributes(attributes))
check(sent["MD5OfMessageSystemAttributes"], md5_of_attributes(trace))

(got,) = sqs.receive_message(QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
check(got["Body"], body)
check(got["MD5OfBody"], sent["MD5OfMessageBody"])
check(got["MessageAttributes"], attributes)
check(got["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"])
check(got["Attributes"]["AWSTraceHeader"], "Root=1-2-3")
sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)

part = {"raw": attributes["raw"]}
(got,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["raw"])["Messages"]
check(got["MessageAttributes"], part)
check(got["MD5OfMessageAttributes"], md5_of_attributes(part))
assert "Attributes" not in got
sqs.delete_message(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"])
assert "Messages" not in sqs.receive_message(QueueUrl=url)

answer = sqs.send_message_batch(QueueUrl=url, Entries=[
    {"Id": "good", "MessageBody": "x"}, {"Id": "bad", "MessageBody": "\x0b"}])
check([entry["Id"] for entry in answer["Successful"]], ["good"])
check([(e["Id"], e["Code"], e["SenderFault"]) for e in answer["Failed"]], [("bad", "InvalidMessageContents", True)])
check(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"],
      {"ApproximateNumberOfMessages": "1"})

try:
    sqs.get_queue_url(QueueName="nobody")
    raise AssertionError("a missing queue was found")
except sqs.exceptions.QueueDoesNotExist as error:
    check(error.response["Error"]["Code"], "AWS.SimpleQueueService.NonExistentQueue")
    check(error.response["Error"]["QueryErrorCode"], "QueueDoesNotExist")
try:
    sqs.delete_message(QueueUrl=url, ReceiptHandle="garbage")
    raise AssertionError("a made-up receipt handle was taken")
except sqs.exceptions.ReceiptHandleIsInvalid:
    pass
sqs.delete_queue(QueueUrl=url)
