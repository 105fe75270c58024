//! TwiML: what a call says, as XML.

use crate::call::FieldError;

/// The longest inline TwiML that Twilio takes, in characters.
pub const MAX_TWIML_CHARS: usize = 4000;

/// `<Say>` with the content as plain text: markup in it is spoken, not obeyed.
///
/// # Errors
/// Pointers are relative to the voice configuration.
pub fn say(content: &str, voice: Option<&str>, language: Option<&str>) -> Result<String, FieldError> {
    if content.trim().is_empty() {
        return Err(FieldError::new(
            "/content",
            "is missing: a call needs content, or Twiml or Url in platform_config",
        ));
    }
    if content.chars().any(|c| !is_xml(c)) {
        return Err(FieldError::new("/content", "holds a control character, which XML cannot"));
    }
    let mut attributes = String::new();
    for (name, pointer, value) in [("voice", "/voice_id", voice), ("language", "/language", language)] {
        let Some(value) = value else { continue };
        // `Polly.Joanna-Neural`, `Google.en-US-Chirp3-HD-Aoede`, `woman`; `en-US`, `cmn-CN`.
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(FieldError::new(
                pointer,
                "expected letters, digits, '.', '-' and '_', as in Polly.Joanna or en-US",
            ));
        }
        attributes.push_str(&format!(" {name}=\"{value}\""));
    }
    let twiml = format!("<Response><Say{attributes}>{}</Say></Response>", escape(content));
    let chars = twiml.chars().count();
    if chars > MAX_TWIML_CHARS {
        let detail =
            format!("makes TwiML of {chars} characters, expected at most {MAX_TWIML_CHARS}: give a Url instead");
        return Err(FieldError::new("/content", detail));
    }
    Ok(twiml)
}

/// The producer's own TwiML, `{{content}}` and `{{name}}` in it replaced by the escaped texts.
pub fn fill(twiml: &str, content: &str, name: Option<&str>) -> String {
    // In one pass: a content that holds `{{name}}` is a text, not a template.
    let mut out = String::with_capacity(twiml.len());
    let mut rest = twiml;
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = [("{{content}}", content), ("{{name}}", name.unwrap_or_default())];
        match known.into_iter().find(|(mark, _)| from.starts_with(mark)) {
            Some((mark, text)) => {
                out.push_str(&escape(text));
                rest = &from[mark.len()..];
            }
            None => {
                out.push_str("{{");
                rest = &from[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Texts and attribute values alike. What XML 1.0 cannot hold at all is left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|&c| is_xml(c)) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_spoken_and_never_obeyed() {
        let twiml = say("Tom & \"Ada\" <Hangup/> 'now'", Some("Polly.Joanna-Neural"), Some("en-US")).unwrap();
        assert_eq!(
            twiml,
            "<Response><Say voice=\"Polly.Joanna-Neural\" language=\"en-US\">Tom &amp; &quot;Ada&quot; &lt;Hangup/&gt; \
             &apos;now&apos;</Say></Response>"
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        let pointer = |content: &str, voice, language| say(content, voice, language).unwrap_err().pointer;
        assert_eq!(pointer(" ", None, None), "/content");
        assert_eq!(pointer("a\u{1}b", None, None), "/content");
        assert_eq!(pointer("a", Some("x\" loop=\"9"), None), "/voice_id");
        assert_eq!(pointer("a", None, Some("")), "/language");
        // Escaped, each is five characters.
        assert_eq!(pointer(&"&".repeat(800), None, None), "/content");
        assert!(say(&"a".repeat(MAX_TWIML_CHARS - "<Response><Say></Say></Response>".len()), None, None).is_ok());
    }

    #[test]
    fn a_template_is_filled_once_and_escaped() {
        let twiml = "<Response><Say>{{name}}: {{content}} {{other}} {{</Say></Response>";
        assert_eq!(
            fill(twiml, "1 < 2 {{name}}", Some("A & B")),
            "<Response><Say>A &amp; B: 1 &lt; 2 {{name}} {{other}} {{</Say></Response>"
        );
        assert_eq!(fill("{{name}}!", "", None), "!");
    }
}
