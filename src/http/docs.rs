//! The OpenAPI document, generated from the handlers, and a page that shows it.

use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::errors::{Document, Kind};
use crate::call::FieldError;
use crate::job;

const PROBLEM: &str = "application/problem+json";
/// Nothing is loaded from anywhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "voxd",
        description = "A daemon that delivers voice: AI phone calls, never lost, never placed twice by us.\n\nAll paths work with and without a trailing slash. Errors are RFC 9457 problem documents. Keys are made with `voxd keys create`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "messages", description = "What producers send, and what was exchanged with a lead"),
        (name = "calls", description = "What became of them"),
        (name = "do not call", description = "Numbers that get no call"),
        (name = "voice configurations", description = "Stored under a name that jobs give"),
        (name = "voice sessions", description = "Live sessions of a user: recordings in, speech out, the conversation"),
        (name = "webhooks", description = "Where platforms post to"),
        (name = "running it", description = "Liveness, readiness, metrics, this description"),
    ),
    components(schemas(Document, FieldError))
)]
struct Frame;

/// Title, tags, and the schemas that no handler names.
pub fn frame() -> OpenApi {
    Frame::openapi()
}

/// The OpenAPI 3.1 document.
pub fn openapi() -> Value {
    let (_, described) = super::routes().split_for_parts();
    let mut document = serde_json::to_value(described).unwrap_or_default();
    document["components"]["securitySchemes"] =
        json!({ "key": { "type": "http", "scheme": "bearer", "bearerFormat": "vx_<id>_<secret>" } });
    document["components"]["schemas"]["Message"] = message_schema();
    document["components"]["schemas"]["VoiceConfig"] = embedded(job::voice_config_schema());
    let kinds = Kind::ALL.iter().map(|kind| Value::from(kind.urn()));
    document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"] = kinds.collect();
    for operation in operations(&mut document) {
        describe_errors(operation);
    }
    drop_unused_schemas(&mut document);
    document
}

/// What the schemas that were put in place of generated ones no longer refer to.
fn drop_unused_schemas(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter(|operation| operation.is_object())
}

/// Every error is a problem document, and what holds for all keyed routes need not stand at each of them.
fn describe_errors(operation: &mut Value) {
    let keyed = operation.get("security").is_some();
    let has_input = operation.get("requestBody").is_some() || operation.get("parameters").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut add = |status: &str, text: &str| {
        responses.entry(status.to_owned()).or_insert_with(|| json!({ "description": text }));
    };
    if keyed {
        add("401", "No valid API key");
        add("403", "The key's role does not fit");
        add("503", "Postgres is away");
    }
    if keyed && has_input {
        add("400", "The request cannot be read");
    }
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) && response.get("content").is_none() {
            response["content"] = json!({ PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        }
    }
}

/// A job's data with its channel: the schema that the parser itself uses.
fn message_schema() -> Value {
    let mut schema = job::call_data_schema();
    schema["properties"]["channel"] = json!({ "const": "voice" });
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, json!("channel"));
    }
    schema["title"] = json!("Message");
    embedded(schema)
}

/// Within a document the dialect is the document's.
fn embedded(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
    schema
}

static TEXT: LazyLock<String> = LazyLock::new(|| serde_json::to_string_pretty(&openapi()).unwrap_or_default());
static PAGE: LazyLock<String> = LazyLock::new(|| {
    // Within a script element only its end tag and comments need care.
    let document = openapi().to_string().replace('<', "\\u003c");
    include_str!("docs.html").replace("{{openapi}}", &document)
});

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "running it", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// This description, to read.
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "running it", responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE.as_str())).into_response()
}

/// Where to go from here.
#[utoipa::path(get, path = "/", operation_id = "landing", tag = "running it", responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub async fn landing() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("landing.html"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_says_what_it_is_for_and_which_errors_come() {
        let mut document = openapi();
        let mut ids = std::collections::BTreeSet::new();
        for operation in operations(&mut document) {
            let id = operation["operationId"].clone();
            assert!(ids.insert(id.to_string()), "{id} stands twice");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{id}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{id} {status}");
                let is_error = status.starts_with(['4', '5']) && !(id == "readyz" && status == "503");
                let problem = response["content"].get(PROBLEM).is_some();
                assert_eq!(problem, is_error, "{id} {status}");
            }
        }
    }

    #[test]
    fn every_route_of_the_api_asks_for_a_key() {
        let document = openapi();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert_eq!(operation.get("security").is_some(), path.starts_with("/api/"), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|inner| walk(inner, found));
                }
                Value::Array(items) => items.iter().for_each(|inner| walk(inner, found)),
                _ => {}
            }
        }
        let document = openapi();
        let mut references = Vec::new();
        walk(&document, &mut references);
        assert!(references.len() > 10);
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_page_holds_the_document_and_loads_nothing() {
        assert!(PAGE.contains("/api/messages/") && !PAGE.contains("{{openapi}}"));
        for page in [PAGE.as_str(), include_str!("landing.html")] {
            assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("<link"), "loads something");
        }
    }
}
