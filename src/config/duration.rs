//! Durations as people write them: `500ms`, `30s`, `5m`, `2h`, `90d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration, expected e.g. \"500ms\", \"30s\", \"5m\", \"2h\""))
}

/// The shortest exact form, e.g. `2m`.
pub fn format(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
