//! Message attributes: which are allowed, how large they count, their MD5, and which of them a receiver asked for.
//!
//! Rules and the MD5 algorithm: SQS developer guide, "Message metadata" and "Calculating the MD5 message digest for
//! message attributes".

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{ApiError, ErrorKind};

/// Attributes in the order of their names, which is the order the MD5 takes them in.
pub(super) type Attributes = BTreeMap<String, AttributeValue>;

/// At most this many attributes on one message.
const MAX_ATTRIBUTES: usize = 10;

/// One attribute as it travels: its type, and text or bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttributeValue {
    #[serde(default)]
    pub data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<Blob>,
    /// Reserved by AWS and refused: kept only to say so.
    #[serde(default, skip_serializing)]
    string_list_values: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    binary_list_values: Option<Vec<String>>,
}

/// Bytes, base64 on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(input)?;
        STANDARD.decode(text.as_bytes()).map(Blob).map_err(serde::de::Error::custom)
    }
}

impl AttributeValue {
    /// Bytes of type and value, as the size limit counts them.
    fn size(&self) -> usize {
        self.data_type.len()
            + self.string_value.as_ref().map_or(0, String::len)
            + self.binary_value.as_ref().map_or(0, |blob| blob.0.len())
    }
}

/// Bytes that the attributes add to a message: names, types and values.
pub(super) fn size(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value.size()).sum()
}

/// Checks the attributes a producer sent.
///
/// # Errors
/// `InvalidParameterValue` (the code SQS has for all of these), or `InvalidMessageContents` for a forbidden character.
pub(super) fn validate(attributes: &Attributes) -> Result<(), ApiError> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(ApiError::parameter(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
            attributes.len()
        )));
    }
    for (name, value) in attributes {
        validate_name(name)?;
        validate_value(name, value)?;
    }
    Ok(())
}

fn validate_name(name: &str) -> Result<(), ApiError> {
    let lower = name.to_ascii_lowercase();
    let good_characters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if name.is_empty() || name.len() > 256 || !good_characters {
        return Err(ApiError::parameter(format!(
            "The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore (_), hyphen (-), and period (.) characters."
        )));
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err(ApiError::parameter(format!(
            "The message attribute name '{name}' is invalid. It must not start or end with a period, or have successive periods."
        )));
    }
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err(ApiError::parameter(format!(
            "The message attribute name '{name}' is invalid. It starts with a reserved prefix."
        )));
    }
    Ok(())
}

fn validate_value(name: &str, value: &AttributeValue) -> Result<(), ApiError> {
    let lists = [&value.string_list_values, &value.binary_list_values];
    if lists.iter().any(|list| list.as_ref().is_some_and(|list| !list.is_empty())) {
        return Err(ApiError::parameter("Message attribute list values in SendMessage operation are not supported."));
    }
    if value.data_type.is_empty() || value.data_type.len() > 256 {
        return Err(ApiError::parameter(format!(
            "The message attribute '{name}' must contain a non-empty attribute type of at most 256 bytes."
        )));
    }
    let logical = value.data_type.split('.').next().unwrap_or_default();
    let present = match logical {
        "String" | "Number" => value.string_value.as_ref().is_some_and(|text| !text.is_empty()),
        "Binary" => value.binary_value.as_ref().is_some_and(|blob| !blob.0.is_empty()),
        _ => {
            return Err(ApiError::parameter(format!(
                "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
            )));
        }
    };
    if !present || (value.string_value.is_some() && value.binary_value.is_some()) {
        return Err(ApiError::parameter(format!(
            "The message attribute '{name}' with type '{}' must use field '{}'.",
            value.data_type,
            if logical == "Binary" { "Binary" } else { "String" },
        )));
    }
    if let Some(text) = &value.string_value {
        if logical == "Number" && !is_number(text) {
            return Err(ApiError::parameter(format!(
                "Can't cast the value of message attribute '{name}' to a number."
            )));
        }
        require_allowed_characters(text)?;
    }
    Ok(())
}

/// A number as SQS takes it: up to 38 digits, between -10^128 and 10^126.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite) && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
}

/// The characters SQS lets through: XML 1.0's.
///
/// # Errors
/// `InvalidMessageContents` when there is another one.
pub(super) fn require_allowed_characters(text: &str) -> Result<(), ApiError> {
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    // Bytes from 0x20 on cannot start a forbidden character but for the two noncharacters U+FFFE and U+FFFF (EF BF BE/BF).
    let suspicious = |b: u8| b == 0xEF || (b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r'));
    if text.bytes().any(suspicious) && !text.chars().all(allowed) {
        return Err(ApiError::new(
            ErrorKind::InvalidMessageContents,
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        ));
    }
    Ok(())
}

/// MD5 of a text, in hex.
pub(super) fn md5_of_text(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

/// MD5 of attributes by AWS's algorithm; `None` when there are none.
pub(super) fn md5_of<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a AttributeValue)>) -> Option<String> {
    let mut digest = Md5::new();
    let mut any = false;
    for (name, value) in attributes {
        any = true;
        update(&mut digest, name.as_bytes());
        update(&mut digest, value.data_type.as_bytes());
        if let Some(text) = &value.string_value {
            digest.update([1]);
            update(&mut digest, text.as_bytes());
        } else if let Some(blob) = &value.binary_value {
            digest.update([2]);
            update(&mut digest, &blob.0);
        }
    }
    any.then(|| hex(&digest.finalize()))
}

fn update(digest: &mut Md5, value: &[u8]) {
    digest.update(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(value);
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
    out
}

/// Which attributes a receiver asked for by `MessageAttributeNames`.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    all: bool,
    names: Vec<String>,
}

impl Wanted {
    pub fn new(names: Vec<String>) -> Self {
        let all = names.iter().any(|name| name == "All" || name == ".*");
        Self { all, names }
    }

    pub fn none(&self) -> bool {
        self.names.is_empty()
    }

    /// Exact names, or a prefix written `prefix.*`.
    pub fn has(&self, name: &str) -> bool {
        self.all
            || self.names.iter().any(|wanted| match wanted.strip_suffix(".*") {
                Some(prefix) => name.starts_with(prefix),
                None => wanted == name,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data_type: &str, value: &str) -> AttributeValue {
        AttributeValue {
            data_type: data_type.into(),
            string_value: Some(value.into()),
            binary_value: None,
            string_list_values: None,
            binary_list_values: None,
        }
    }

    #[test]
    fn md5_agrees_with_a_value_computed_by_an_independent_implementation() {
        let mut attributes = Attributes::new();
        attributes.insert("timestamp".into(), text("Number", "1493147359900"));
        // From botocore's/moto's own test-suite for this very attribute.
        assert_eq!(md5_of(&attributes).unwrap(), "235c5c510d26fb653d073faed50ae77c");
    }

    #[test]
    fn no_attributes_have_no_md5() {
        assert_eq!(md5_of(&Attributes::new()), None);
    }

    #[test]
    fn control_characters_and_noncharacters_are_refused_and_others_pass() {
        for bad in ["\u{0}", "a\u{b}", "\u{1f}", "\u{FFFE}", "\u{FFFF}"] {
            assert!(require_allowed_characters(bad).is_err(), "{bad:?}");
        }
        for good in ["", "plain", "\t\r\n", "é", "\u{FEFF}", "\u{FFFD}", "😀"] {
            assert!(require_allowed_characters(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn names_and_types_are_checked() {
        let one = |name: &str, value: AttributeValue| validate(&Attributes::from([(name.to_owned(), value)]));
        assert!(one("voxd.reason", text("String", "x")).is_ok());
        assert!(one("n", text("Number.int", "-1.5e3")).is_ok());
        for (name, value) in [
            ("a b", text("String", "x")),
            (".a", text("String", "x")),
            ("a..b", text("String", "x")),
            ("AWS.x", text("String", "x")),
            ("a", text("String", "")),
            ("a", text("Text", "x")),
            ("a", text("Binary", "x")),
            ("a", text("Number", "twelve")),
        ] {
            assert!(one(name, value).is_err(), "{name}");
        }
    }

    #[test]
    fn a_receiver_gets_what_it_asked_for() {
        let wanted = Wanted::new(vec!["voxd.*".into(), "traceparent".into()]);
        assert!(wanted.has("voxd.reason") && wanted.has("traceparent") && !wanted.has("other"));
        assert!(Wanted::new(vec!["All".into()]).has("other"));
    }
}
