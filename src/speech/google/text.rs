//! Cuts what is to be said into pieces that Google takes.

/// Of one request: bytes, not characters.
pub const MOST_BYTES: usize = 5000;
/// A sentence of more bytes is cut at commas: Google refuses long ones that are well below [`MOST_BYTES`].
const LONGEST_SENTENCE: usize = 900;

/// Pieces in order, each of at most `most` bytes: whole sentences where they fit, else parts of them between commas, else
/// words, else characters. Nothing but white space at the cuts is lost.
pub fn pieces(text: &str, most: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for sentence in split_behind(text, is_sentence_end) {
        let parts: Vec<&str> = match sentence.trim().len() {
            0..=LONGEST_SENTENCE => vec![sentence],
            _ => split_behind(sentence, |c| matches!(c, ',' | ';' | ':' | '、' | '，')),
        };
        for part in parts {
            for piece in words(part.trim(), LONGEST_SENTENCE.min(most)) {
                let is_cut = !ends_sentence(pieces.last());
                match pieces.last_mut() {
                    // A sentence that had to be cut stays cut.
                    Some(last) if !is_cut && last.len() + 1 + piece.len() <= most => {
                        last.push(' ');
                        last.push_str(piece);
                    }
                    _ => pieces.push(piece.to_owned()),
                }
            }
        }
    }
    pieces
}

fn ends_sentence(piece: Option<&String>) -> bool {
    piece.and_then(|piece| piece.chars().next_back()).is_some_and(is_sentence_end)
}

fn is_sentence_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '\n' | '。' | '！' | '？')
}

/// Cuts behind each such character that white space follows, and behind each full-width one and line end.
fn split_behind(text: &str, is_end: impl Fn(char) -> bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let alone = c == '\n' || !c.is_ascii() && c != '…';
        let followed = characters.peek().is_none_or(|(_, next)| next.is_whitespace());
        if is_end(c) && (alone || followed) {
            let end = at + c.len_utf8();
            parts.push(&text[from..end]);
            from = end;
        }
    }
    parts.push(&text[from..]);
    parts
}

/// Text without sentence ends in it, in pieces of whole words where they fit.
fn words(text: &str, most: usize) -> Vec<&str> {
    let mut rest = text;
    let mut parts = Vec::new();
    while rest.len() > most {
        let window = &rest[..rest.floor_char_boundary(most.max(4))];
        let cut = window.rfind(char::is_whitespace).filter(|cut| *cut > 0).unwrap_or(window.len());
        let (part, later) = rest.split_at(cut);
        parts.push(part.trim());
        rest = later.trim_start();
    }
    parts.push(rest.trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_text_stays_whole_and_long_text_is_cut_at_sentences() {
        assert_eq!(pieces("One. Two, three! 3.5 four?", 5000), ["One. Two, three! 3.5 four?"]);
        assert_eq!(pieces("One. Two, three! Four?", 11), ["One.", "Two, three!", "Four?"]);
        assert_eq!(pieces(" \n ", 5000), Vec::<String>::new());
    }

    #[test]
    fn a_long_sentence_is_cut_at_commas() {
        let sentence = format!("{}, {}.", "a ".repeat(400).trim(), "b ".repeat(400).trim());
        let cut = pieces(&sentence, 5000);
        assert_eq!(cut.len(), 2, "{cut:?}");
        assert!(cut[0].ends_with("a,") && cut[1].starts_with('b'));
    }

    proptest! {
        #[test]
        fn pieces_fit_and_lose_nothing(text in "([a-zé。]{0,30}[ ,.!?\n]{0,3}){0,60}", most in 8..200usize) {
            let cut = pieces(&text, most);
            prop_assert!(cut.iter().all(|piece| !piece.is_empty() && piece.len() <= most), "{cut:?}");
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&cut.concat()), bare(&text));
        }
    }
}
