//! Multipart forms (RFC 7578), read strictly.

use axum::body::Bytes;
use http::{HeaderMap, header};

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    pub file_name: Option<String>,
    pub content: Bytes,
}

/// # Errors
/// What is wrong with the form.
pub(super) fn parts(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Part>, String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/form-data;")
        .and_then(|rest| rest.trim().strip_prefix("boundary="))
        .map(|boundary| boundary.trim_matches('"'))
        .filter(|boundary| (1..=70).contains(&boundary.len()))
        .ok_or("Content-Type is not multipart/form-data with a boundary")?;
    let opening = format!("--{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut at =
        body.starts_with(opening.as_bytes()).then_some(opening.len()).ok_or("the form has no first boundary")?;
    let mut parts = Vec::new();
    loop {
        match body.get(at..at + 2) {
            Some(b"--") => break,
            Some(b"\r\n") => at += 2,
            _ => return Err("a boundary has no end of line".into()),
        }
        let head = find(body, at, b"\r\n\r\n").ok_or("a part has no end of its headers")?;
        let end = find(body, head + 2, delimiter.as_bytes()).ok_or("the form has no last boundary")?;
        let content = if end >= head + 4 { body.slice(head + 4..end) } else { Bytes::new() };
        let (name, file_name) = names(&body[at..head])?;
        parts.push(Part { name, file_name, content });
        at = end + delimiter.len();
    }
    Ok(parts)
}

fn find(body: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut at = from;
    while let Some(step) = body.get(at..)?.iter().position(|byte| *byte == first) {
        at += step;
        if body[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn names(head: &[u8]) -> Result<(String, Option<String>), String> {
    let head = std::str::from_utf8(head).map_err(|_| "a part's headers are not text")?;
    let disposition = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value.trim())
        .ok_or("a part has no Content-Disposition")?;
    let of = |wanted: &str| {
        let parameters = disposition.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        parameters.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    Ok((of("name").ok_or("a part has no name")?, of("filename")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static str) -> Result<Vec<Part>, String> {
        let kind = "multipart/form-data; boundary=xx".parse().unwrap();
        parts(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]), &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn parts_are_read_byte_for_byte() {
        let body = "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n-\r\n--xx\r\ncontent-disposition: form-data; name=\"f\"; filename=\"x.wav\"\r\nContent-Type: audio/wav\r\n\r\n\r\n--xx--\r\n";
        let part = |name: &str, file: Option<&str>, content: &'static str| Part {
            name: name.into(),
            file_name: file.map(str::to_owned),
            content: Bytes::from_static(content.as_bytes()),
        };
        assert_eq!(read(body).unwrap(), [part("a", None, "1\r\n-"), part("f", Some("x.wav"), "")]);
    }

    #[test]
    fn a_form_without_its_end_is_refused() {
        assert!(read("--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1").is_err());
        assert!(read("").is_err());
        assert!(read("--xx\r\n\r\n\r\n--xx--").is_err());
    }
}
