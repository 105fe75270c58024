"""The poller that most teams write first: receive, one request, one row, delete, one message at a time.

It keeps its connections. It writes no intent, so a crash after the request places the call again.
"""

import json
import os

import boto3
import psycopg
import requests

QUEUE = os.environ["QUEUE_URL"]
CALLS = os.environ["PROVIDER_URL"] + "/v1/calls"


def main():
    sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_ENDPOINT_URL_SQS"])
    http = requests.Session()
    http.headers["authorization"] = os.environ["PROVIDER_KEY"]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as db:
        while True:
            answer = sqs.receive_message(QueueUrl=QUEUE, MaxNumberOfMessages=10, WaitTimeSeconds=20)
            for message in answer.get("Messages", []):
                event = json.loads(message["Body"])
                data = event["data"]
                request = {"phone_number": data["lead"]["phone_number"], "task": data["content"], "language": "en", "max_duration": 5}
                response = http.post(CALLS, json={**request, "metadata": data["metadata"]}, timeout=30)
                db.execute(
                    "insert into bench_calls (event_id, http_status, call_id) values (%s, %s, %s) on conflict do nothing",
                    (event["id"], response.status_code, response.json().get("call_id")),
                )
                sqs.delete_message(QueueUrl=QUEUE, ReceiptHandle=message["ReceiptHandle"])


main()
