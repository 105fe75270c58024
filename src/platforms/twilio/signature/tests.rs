use super::*;
use http::HeaderValue;

const FORM_TYPE: &str = "application/x-www-form-urlencoded; charset=UTF-8";
const DOCS_BODY: &str =
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212";
const JSON_BODY: &str = r#"{"property": "value", "boolean": true}"#;
const JSON_URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";

fn verify(tokens: &[&str], url: &str, kind: &str, body: &str, signature: &str) -> Result<VerifiedBy, SignatureError> {
    let secrets: Vec<Secret> = tokens.iter().map(|token| Secret::new(*token)).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
    headers.insert("X-Twilio-Signature", HeaderValue::from_str(signature).unwrap());
    Verifier::new(&secrets).verify(&headers, url, body.as_bytes())
}

fn sign(token: &str, url: &str, parameters: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, format!("{url}{parameters}").as_bytes()))
}

fn first() -> Result<VerifiedBy, SignatureError> {
    Ok(VerifiedBy("hmac_sha1".into()))
}

#[test]
fn the_documented_vectors_verify() {
    for (token, url, body, signature) in [
        ("12345", "https://example.com/myapp.php?foo=1&bar=2", DOCS_BODY, "L/OH5YylLD5NRKLltdqwSvS0BnU="),
        ("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", DOCS_BODY, "GvWf1cFY/Q7PnoempGyD5oXAezc="),
        (
            "test-auth-token",
            "https://hooks.example.test/twilio/status?attempt=att_01",
            "To=%2B15550100002&From=%2B15550100001&CallSid=CA00000000000000000000000000000001&CallStatus=completed\
             &AccountSid=AC00000000000000000000000000000001",
            "LYmjUB9jlT/wP+TPcm2/Z2q7KiU=",
        ),
    ] {
        assert_eq!(verify(&[token], url, FORM_TYPE, body, signature), first(), "{url}");
        assert_eq!(
            verify(&["other", token], url, FORM_TYPE, body, signature),
            Ok(VerifiedBy("hmac_sha1#2".into())),
            "{url}"
        );
    }
    let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
    assert_eq!(verify(&["12345"], JSON_URL, "application/json", JSON_BODY, signature), first());
}

#[test]
fn anything_changed_does_not() {
    let (url, good) = ("https://example.com/myapp.php?foo=1&bar=2", "L/OH5YylLD5NRKLltdqwSvS0BnU=");
    let no = Err(SignatureError::Mismatch);
    for (token, url, body, signature) in [
        ("54321", url, DOCS_BODY, good),
        ("12345", "http://example.com/myapp.php?foo=1&bar=2", DOCS_BODY, good),
        ("12345", "https://example.com/myapp.php?bar=2&foo=1", DOCS_BODY, good),
        ("12345", "https://example.com/other.php?foo=1&bar=2", DOCS_BODY, good),
        ("12345", url, "CallSid=CA1234567890ABCDE", good),
        ("12345", url, &format!("{DOCS_BODY}&New=1"), good),
        ("12345", url, &DOCS_BODY.replace("1234&", "1235&"), good),
        ("12345", url, DOCS_BODY, ""),
        ("12345", url, DOCS_BODY, "????"),
        ("12345", url, DOCS_BODY, "L/OH5YylLD5NRKLltdqwSvS0Bn=="),
        ("12345", "not an address", DOCS_BODY, good),
    ] {
        assert_eq!(verify(&[token], url, FORM_TYPE, body, signature), no, "{token} {url} {body} {signature}");
    }
}

#[test]
fn without_a_header_or_a_secret_nothing_is_believed() {
    let verifier = Verifier::new(&[Secret::new("12345")]);
    assert_eq!(verifier.verify(&HeaderMap::new(), "https://a.example/", b""), Err(SignatureError::Missing));
    let none = verify(&[""], "https://example.com/", FORM_TYPE, "", &sign("", "https://example.com/", ""));
    assert_eq!(none, Err(SignatureError::NoSecret));
}

#[test]
fn the_port_and_a_slash_at_the_end_may_be_there_or_not() {
    let seen = "https://hooks.example.test/webhooks/twilio/a1";
    for signed in [
        "https://hooks.example.test/webhooks/twilio/a1",
        "https://hooks.example.test/webhooks/twilio/a1/",
        "https://hooks.example.test:443/webhooks/twilio/a1",
        "https://hooks.example.test:443/webhooks/twilio/a1/",
    ] {
        assert_eq!(verify(&["t"], seen, FORM_TYPE, "A=1", &sign("t", signed, "A1")), first(), "{signed}");
        assert_eq!(verify(&["t"], signed, FORM_TYPE, "A=1", &sign("t", seen, "A1")), first(), "{signed} the other way");
    }
    for signed in ["http://hooks.example.test:8080/x?a=1", "http://hooks.example.test/x/?a=1"] {
        let seen = "http://hooks.example.test:8080/x?a=1";
        assert_eq!(verify(&["t"], seen, FORM_TYPE, "", &sign("t", signed, "")), first(), "{signed}");
    }
    for foreign in
        ["https://hooks.example.test:8443/webhooks/twilio/a1", "http://hooks.example.test/webhooks/twilio/a1"]
    {
        let result = verify(&["t"], seen, FORM_TYPE, "A=1", &sign("t", foreign, "A1"));
        assert_eq!(result, Err(SignatureError::Mismatch), "{foreign}");
    }
}

#[test]
fn parameters_are_decoded_sorted_by_bytes_and_keep_their_white_space() {
    let url = "https://h.example/";
    let signed = "B b a1b \u{e4}";
    // `+` and `%20` are one space; capitals come before small letters.
    assert_eq!(verify(&["t"], url, FORM_TYPE, "b=+%C3%A4&a=1&B=+b+", &sign("t", url, signed)), first());
    let doubled = sign("t", url, "A1A2");
    for body in ["A=2&A=1", "A=1&A=2&A=1"] {
        assert_eq!(verify(&["t"], url, FORM_TYPE, body, &doubled), first(), "{body}");
    }
}

#[test]
fn a_body_that_is_no_form_counts_only_with_its_hash_in_the_address() {
    let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
    let no = Err(SignatureError::Mismatch);
    assert_eq!(verify(&["12345"], JSON_URL, "application/json", "{}", signature), no);
    let bare = "https://mycompany.com/myapp.php";
    assert_eq!(verify(&["12345"], bare, "application/json", JSON_BODY, &sign("12345", bare, "")), no);
    // A form is signed by its parameters, whatever the address says.
    assert_eq!(verify(&["12345"], JSON_URL, FORM_TYPE, "CallStatus=completed", signature), no);
}
