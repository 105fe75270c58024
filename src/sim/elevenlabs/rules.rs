//! What ElevenLabs refuses of a create request, as its pydantic models would. Unknown fields are ignored there, as are overrides
//! that the agent does not allow: so they are not refused here.

use serde_json::{Map, Value, json};

pub const CREATE_PATHS: &[&str] = &["/v1/convai/twilio/outbound-call", "/v1/convai/sip-trunk/outbound-call"];

/// One item of the 422's list.
pub struct Problem {
    /// Below `body`.
    loc: Vec<String>,
    msg: String,
    kind: &'static str,
}

impl Problem {
    pub fn new(loc: &[&str], msg: &str, kind: &'static str) -> Self {
        Self { loc: loc.iter().map(|part| (*part).to_owned()).collect(), msg: msg.to_owned(), kind }
    }

    pub fn json(&self) -> Value {
        let loc: Vec<&str> = std::iter::once("body").chain(self.loc.iter().map(String::as_str)).collect();
        json!({ "loc": loc, "msg": self.msg, "type": self.kind })
    }
}

pub fn problems(fields: &Map<String, Value>, path: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    for name in ["agent_id", "agent_phone_number_id", "to_number"] {
        match fields.get(name) {
            None => found.push(Problem::new(&[name], "Field required", "missing")),
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(_) => found.push(Problem::new(&[name], "Input should be a valid string", "string_type")),
        }
    }
    if let Some(number) = fields.get("to_number").and_then(Value::as_str)
        && !is_phone_number(number)
    {
        found.push(Problem::new(&["to_number"], "Value is not a valid phone number", "value_error"));
    }
    if fields.get("call_recording_enabled").is_some_and(|value| !value.is_boolean() && !value.is_null()) {
        found.push(Problem::new(&["call_recording_enabled"], "Input should be a valid boolean", "bool_type"));
    }
    if let Some(telephony) = fields.get("telephony_call_config").filter(|value| !value.is_null()) {
        if !telephony.is_object() {
            found.push(Problem::new(&["telephony_call_config"], "Input should be a valid dictionary", "dict_type"));
        }
        if telephony.get("ringing_timeout_secs").is_some_and(|seconds| !seconds.is_null() && seconds.as_i64().is_none())
        {
            let loc = ["telephony_call_config", "ringing_timeout_secs"];
            found.push(Problem::new(&loc, "Input should be a valid integer", "int_type"));
        }
    }
    let known_path = CREATE_PATHS.iter().any(|known| path.starts_with(known));
    if let Some(data) = fields.get("conversation_initiation_client_data").filter(|value| known_path && !value.is_null())
    {
        client_data(data, &mut found);
    }
    found
}

fn client_data(data: &Value, found: &mut Vec<Problem>) {
    const DATA: &str = "conversation_initiation_client_data";
    if !data.is_object() {
        found.push(Problem::new(&[DATA], "Input should be a valid dictionary", "dict_type"));
    }
    if data.get("user_id").is_some_and(|id| !id.is_string() && !id.is_null()) {
        found.push(Problem::new(&[DATA, "user_id"], "Input should be a valid string", "string_type"));
    }
    for name in ["conversation_config_override", "custom_llm_extra_body", "dynamic_variables", "source_info"] {
        if data.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            found.push(Problem::new(&[DATA, name], "Input should be a valid dictionary", "dict_type"));
        }
    }
    let variables = data.get("dynamic_variables").and_then(Value::as_object);
    for (name, value) in variables.into_iter().flatten() {
        if value.is_object() || value.is_array() {
            let loc = [DATA, "dynamic_variables", name];
            found.push(Problem::new(&loc, "Input should be a valid string, number or boolean", "union_error"));
        }
    }
}

fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}
