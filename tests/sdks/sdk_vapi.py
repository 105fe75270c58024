"""Vapi's simulator, driven by Vapi's own SDK (`vapi_server_sdk`). Its defaults repeat a create request up to twice."""

import time

import common
from vapi import Vapi
from vapi.types import AssistantOverrides, CreateCustomerDto

ASSISTANT_ID = "0a1b2c3d-0000-4000-8000-00000000000a"
PHONE_NUMBER_ID = "0a1b2c3d-0000-4000-8000-00000000000b"


def client():
    return Vapi(token=common.KEY, base_url=common.URL)


def create(number):
    return client().calls.create(
        assistant_id=ASSISTANT_ID,
        phone_number_id=PHONE_NUMBER_ID,
        name="sdk",
        customer=CreateCustomerDto(number=number, external_id="sdk-1"),
        assistant_overrides=AssistantOverrides(
            first_message="Hello.", max_duration_seconds=60, metadata={"campaign_id": "123"}
        ),
    )


def check():
    made = create(common.NUMBER)
    assert made.status == "queued", made
    # The answer tells it; the SDK's Call does not name it.
    assert made.model_extra["subscriptionLimits"]["remainingConcurrentCalls"] == 9, made.model_extra
    assert made.monitor.control_url.endswith(made.id), made.monitor

    for _ in range(600):
        call = client().calls.get(made.id)
        if call.status == "ended":
            break
        time.sleep(0.1)
    assert (call.status, call.ended_reason) == ("ended", "customer-ended-call"), call
    assert call.type == "outboundPhoneCall" and call.phone_call_provider == "twilio", call
    assert call.customer.number == common.NUMBER and call.customer.external_id == "sdk-1", call
    assert call.assistant_overrides.metadata == {"campaign_id": "123"}, call.assistant_overrides
    assert (call.ended_at - call.started_at).total_seconds() == 6, call
    assert call.cost == call.cost_breakdown.total and call.cost > 0, call.cost
    assert call.artifact.transcript == "AI: Hello.\nUser: Yes, thank you.\n", call.artifact
    assert call.analysis.summary == "The person confirmed.", call.analysis

    listed = client().calls.list(limit=1000, created_at_ge=made.created_at, phone_number_id=PHONE_NUMBER_ID)
    assert made.id in [row.id for row in listed], listed
    assert len(common.journal_posts("/call", common.NUMBER)) == 1


def place(number):
    create(number)


common.main("vapi_server_sdk", check, place)
