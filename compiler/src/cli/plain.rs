//! Text that a terminal may be given: names come from models, which come from anywhere.

/// Longest stretch without a space that is shown whole.
const LONGEST: usize = 64;

/// One line without characters that steer a terminal or turn the direction of text: these are written as `\u{1b}`.
/// Words that would fill lines lose their middle.
pub(crate) fn clean(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(letter, &mut escaped));
    let words: Vec<String> = escaped.split(' ').map(|word| cut(word, LONGEST)).collect();
    words.join(" ")
}

/// A name without its middle where it has more than `most` characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let tail = most / 3;
    let head = most.saturating_sub(tail + 1);
    let (head, tail) = (&letters[..head], &letters[letters.len() - tail..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

fn push(letter: char, out: &mut String) {
    if steers(letter) {
        out.extend(letter.escape_unicode());
    } else {
        out.push(letter);
    }
}

/// Control characters, and those that are not seen but turn, join or split what is.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The same for text of several lines that may be coloured: what is left of it are colours.
pub(crate) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let step = match colour(rest) {
            Some(length) => {
                out.push_str(&rest[..length]);
                length
            }
            None if letter == '\n' => {
                out.push(letter);
                1
            }
            None => {
                push(letter, &mut out);
                letter.len_utf8()
            }
        };
        rest = &rest[step..];
    }
    out
}

/// Length of the colour setting that `text` begins with, if it does: `ESC [ 1 ; 31 m`.
fn colour(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\u{1b}[")?;
    let end = inner.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    inner[end..].starts_with('m').then_some(2 + end + 1)
}

/// Every text in a value, cleaned.
pub(crate) fn clean_all(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = clean(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(clean_all),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(clean_all),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[2J\nb\u{202e}c\u{9b}1m"), "a\\u{1b}[2J\\u{a}b\\u{202e}c\\u{9b}1m");
        assert_eq!(clean("Gewicht×√ 層"), "Gewicht×√ 層");
        assert_eq!(
            lines("\u{1b}[1;31mred\u{1b}[0m\n\u{1b}]0;title\u{7}\u{1b}[2J"),
            "\u{1b}[1;31mred\u{1b}[0m\n\\u{1b}]0;title\\u{7}\\u{1b}[2J"
        );
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(cut("abcdefghij", 10), "abcdefghij");
        assert_eq!(cut("abcdefghijk", 7), "abcd…jk");
        let long = clean(&format!("layer {} has", "x".repeat(3000)));
        assert!(
            long.chars().count() <= LONGEST + 10 && long.starts_with("layer x") && long.ends_with("x has"),
            "{long}"
        );
    }
}
