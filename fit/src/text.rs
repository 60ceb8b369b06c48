//! Words of others in messages: on one line, without control characters, and no longer than a reader bears.

/// Characters of a foreign text that a message keeps.
const LONGEST: usize = 300;
/// Names that a message lists, and characters of each.
const NAMES: usize = 8;
const NAME: usize = 60;

/// `text` on one line, cut where it is too long; control characters are shown escaped.
pub(crate) fn one_line(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&line, LONGEST)
}

/// The first of `names`, and how many more there are.
pub(crate) fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    let first: Vec<String> = names.iter().take(NAMES).map(|n| shown(n, NAME)).collect();
    match names.len().saturating_sub(NAMES) {
        0 => first.join(", "),
        more => format!("{}, and {more} more", first.join(", ")),
    }
}

/// A name as a message shows it.
pub(crate) fn name(text: &str) -> String {
    shown(text, NAME)
}

fn shown(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == longest {
            line.push('…');
            break;
        }
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_stay_on_one_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
        assert_eq!(one_line("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), LONGEST + 1);
        let names: Vec<String> = (0..10).map(|k| format!("n{k}")).collect();
        assert_eq!(listed(&names), "n0, n1, n2, n3, n4, n5, n6, n7, and 2 more");
        assert_eq!(listed(&[]), "nothing");
    }
}
