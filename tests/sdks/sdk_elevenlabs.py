"""ElevenLabs' Python SDK against the simulated workspace: an outbound call, its conversation, its row in the listing."""

import time

from elevenlabs import ConversationInitiationClientDataRequestInput
from elevenlabs.client import ElevenLabs

import common


def client():
    return ElevenLabs(api_key=common.KEY, base_url=common.URL)


def place(number, user_id="sdk-504"):
    return client().conversational_ai.twilio.outbound_call(
        agent_id="agent_0001",
        agent_phone_number_id="phnum_0001",
        to_number=number,
        conversation_initiation_client_data=ConversationInitiationClientDataRequestInput(
            user_id=user_id, dynamic_variables={"content": "Hello Ada.", "tries": 2, "vip": True}
        ),
    )


def check():
    user_id = f"sdk-{time.time_ns()}"
    placed = place(common.NUMBER, user_id)
    assert placed.success and placed.conversation_id and placed.call_sid.startswith("CA"), placed
    conversations = client().conversational_ai.conversations
    deadline = time.monotonic() + 30
    while (conversation := conversations.get(placed.conversation_id)).status != "done":
        assert time.monotonic() < deadline, conversation.status
        time.sleep(0.1)
    assert conversation.user_id == user_id
    assert conversation.metadata.call_duration_secs == 6
    assert conversation.metadata.phone_call.call_sid == placed.call_sid
    assert conversation.metadata.phone_call.external_number == common.NUMBER
    assert [turn.role for turn in conversation.transcript] == ["agent", "user"]
    assert conversation.transcript[0].message == "Hello Ada."
    listed = conversations.list(user_id=user_id)
    assert [row.conversation_id for row in listed.conversations] == [placed.conversation_id] and not listed.has_more


if __name__ == "__main__":
    common.main("elevenlabs", check, place)
