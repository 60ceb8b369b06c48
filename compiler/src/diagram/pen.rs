//! Writing SVG elements as text.

use std::fmt::Write as _;

/// Width of an average character as a share of the font size; fonts differ, so this is on the wide side.
const CHARACTER: f64 = 0.62;

/// An SVG document under way.
#[derive(Debug, Default)]
pub(super) struct Pen {
    pub(super) text: String,
    depth: usize,
}

/// Where a text begins, ends, or has its middle.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Pen {
    /// A pen for elements within the root element.
    pub(super) fn inside() -> Self {
        Pen { text: String::new(), depth: 1 }
    }

    fn line(&mut self, content: &str) {
        let _ = writeln!(self.text, "{:indent$}{content}", "", indent = 2 * self.depth);
    }

    /// Opens an element; `attributes` as they stand in the tag.
    pub(super) fn open(&mut self, name: &str, attributes: &str) {
        let space = if attributes.is_empty() { "" } else { " " };
        self.line(&format!("<{name}{space}{attributes}>"));
        self.depth += 1;
    }

    pub(super) fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.line(&format!("</{name}>"));
    }

    /// An element that holds nothing but text.
    pub(super) fn word(&mut self, name: &str, attributes: &str, text: &str) {
        let space = if attributes.is_empty() { "" } else { " " };
        self.line(&format!("<{name}{space}{attributes}>{}</{name}>", escape(text)));
    }

    pub(super) fn label(&mut self, (x, y): (f64, f64), class: &str, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.word("text", &format!("class=\"{class}\" x=\"{}\" y=\"{}\"{anchor}", n(x), n(y)), text);
    }

    /// A vertical wire.
    pub(super) fn wire(&mut self, x: f64, (from, to): (f64, f64), class: &str) {
        self.line(&format!("<path class=\"{class}\" d=\"M{} {}V{}\"/>", n(x), n(from), n(to)));
    }

    /// A horizontal line.
    pub(super) fn rule(&mut self, (from, to): (f64, f64), y: f64, class: &str) {
        self.line(&format!("<path class=\"{class}\" d=\"M{} {}H{}\"/>", n(from), n(y), n(to)));
    }

    pub(super) fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), radius: f64, class: &str) {
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>",
            n(x),
            n(y),
            n(width),
            n(height),
            n(radius)
        ));
    }

    pub(super) fn polygon(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|&(x, y)| format!("{},{}", n(x), n(y))).collect();
        self.line(&format!("<polygon class=\"{class}\" points=\"{}\"/>", points.join(" ")));
    }
}

/// A coordinate to a tenth of a pixel.
pub(super) fn n(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// About how wide `text` comes out in pixels.
pub(super) fn width(text: &str, font_size: f64) -> f64 {
    text.chars().count() as f64 * font_size * CHARACTER
}

/// `text` in lines that are no wider than `room` pixels; words that are wider themselves are cut.
pub(super) fn wrapped(text: &str, room: f64, font_size: f64) -> Vec<String> {
    let most = ((room / (font_size * CHARACTER)) as usize).max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() > most {
            lines.push(String::new());
            used = 0;
        }
        for (index, piece) in letters.chunks(most).enumerate() {
            if index > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if used > 0 {
                    line.push(' ');
                }
                line.extend(piece);
                used = line.chars().count();
            }
        }
    }
    lines
}

/// `text` as XML may hold it; characters that XML has no way to write become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_wrapped() {
        assert_eq!(escape("a<b> & \"c\"\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}");
        assert_eq!(wrapped("one two three", 10.0 * 7.1 * CHARACTER, 10.0), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 10.0 * 5.1 * CHARACTER, 10.0), ["abcde", "fgh", "ij"]);
        assert_eq!((n(3.0), n(0.25)), ("3".into(), "0.2".into()));
    }
}
