//! The text form of a calling window. When one is open is `policy::hours`' matter.

use super::config::CallingWindow;

/// `HH:MM-HH:MM`, all days; empty text is no window.
pub fn parse(text: &str) -> Result<Option<CallingWindow>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let problem = || format!("{text:?} is not a calling window, expected HH:MM-HH:MM such as 09:00-20:00");
    let (from, to) = text.split_once('-').ok_or_else(problem)?;
    let time = |part: &str| chrono::NaiveTime::parse_from_str(part.trim(), "%H:%M").map_err(|_| problem());
    let window = CallingWindow { from: time(from)?, to: time(to)?, days: Vec::new() };
    if window.from >= window.to { Err(problem()) } else { Ok(Some(window)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_checked() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("09:00-20:00").unwrap().unwrap().to, "20:00:00".parse().unwrap());
        assert!(parse("20:00-09:00").unwrap_err().contains("HH:MM-HH:MM"));
    }
}
