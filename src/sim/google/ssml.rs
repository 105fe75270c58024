//! SSML, as far as it has to be read: whether it is well-formed, and what is spoken of it.

/// The text that is spoken.
///
/// # Errors
/// Where it is not well-formed.
pub(super) fn text(ssml: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    let mut is_begun = false;
    let mut rest = ssml.trim();
    while !rest.is_empty() {
        let Some(tag) = rest.strip_prefix('<') else {
            let (plain, later) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            if open.is_empty() {
                return Err("text outside of <speak>".into());
            }
            unescape(plain, &mut out)?;
            rest = later;
            continue;
        };
        if let Some(comment) = tag.strip_prefix("!--") {
            rest = comment.split_once("-->").ok_or("a comment without an end")?.1;
            continue;
        }
        let (tag, later) = tag.split_once('>').ok_or("a tag without an end")?;
        rest = later;
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(opened) if opened == name.trim() => {}
                _ => return Err(format!("</{name}> closes nothing")),
            }
            continue;
        }
        let closed = tag.strip_suffix('/');
        let name = closed.unwrap_or(tag).split_whitespace().next().unwrap_or_default();
        if name.is_empty() || tag.contains('<') || tag.matches('"').count() % 2 == 1 {
            return Err(format!("<{tag}> is no tag"));
        }
        if open.is_empty() && (is_begun || name != "speak") {
            return Err("it must be one <speak> element".into());
        }
        is_begun = true;
        if closed.is_none() {
            open.push(name);
        }
        // A tag parts words.
        out.push(' ');
    }
    match open.last() {
        Some(name) => Err(format!("<{name}> is not closed")),
        None if is_begun => Ok(out.split_whitespace().collect::<Vec<_>>().join(" ")),
        None => Err("it must be one <speak> element".into()),
    }
}

fn unescape(plain: &str, out: &mut String) -> Result<(), String> {
    let mut rest = plain;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, later) = after.split_once(';').ok_or("& without an entity")?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return Err(format!("&{entity}; is no entity")),
        });
        rest = later;
    }
    out.push_str(rest);
    Ok(())
}
