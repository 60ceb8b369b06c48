//! The key to the shapes of a page.

use super::pen::{Anchor, Pen, width};

const TEXT: f64 = 11.0;
const SWATCH: f64 = 30.0;
const LINE: f64 = 26.0;

/// What the legend explains: class of the swatch, and words.
const ENTRIES: [(&str, &str); 7] = [
    ("top", "top tensor T₀"),
    ("isometry", "isometry w"),
    ("disentangler", "disentangler u"),
    ("wire", "bond and its dimension χ"),
    ("sigma", "σ, elementwise"),
    ("leg out", "o: output leg"),
    ("leg in", "i: input leg"),
];

/// Whether the pages drawn have disentanglers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Legend {
    pub(super) disentanglers: bool,
}

impl Legend {
    /// Each entry with where its swatch begins: (x, line).
    fn places(self, room: f64) -> Vec<(&'static str, &'static str, f64, usize)> {
        let (mut x, mut line) = (0.0, 0);
        let mut places = Vec::new();
        for (class, words) in ENTRIES {
            if class == "disentangler" && !self.disentanglers {
                continue;
            }
            let wide = SWATCH + 8.0 + width(words, TEXT) + 18.0;
            if x > 0.0 && x + wide > room {
                (x, line) = (0.0, line + 1);
            }
            places.push((class, words, x, line));
            x += wide;
        }
        places
    }

    pub(super) fn height(self, room: f64) -> f64 {
        self.places(room).last().map_or(0.0, |last| (last.3 + 1) as f64 * LINE)
    }

    pub(super) fn draw(self, pen: &mut Pen, (left, top): (f64, f64), room: f64) {
        for (class, words, x, line) in self.places(room) {
            let (x, y) = (left + x, top + line as f64 * LINE);
            match class {
                "isometry" => {
                    let points = [(x + 10.0, y + 2.0), (x + 20.0, y + 2.0), (x + SWATCH, y + 18.0), (x, y + 18.0)];
                    pen.polygon(&points, class);
                }
                "wire" => pen.rule((x, x + SWATCH), y + 10.0, class),
                "sigma" => pen.rectangle((x, y + 4.0), (SWATCH, 12.0), 4.0, class),
                "top" => pen.rectangle((x, y + 2.0), (SWATCH, 16.0), 6.0, class),
                "disentangler" => pen.rectangle((x, y + 2.0), (SWATCH, 16.0), 2.0, class),
                _ => pen.rectangle((x, y + 2.0), (SWATCH, 16.0), 8.0, class),
            }
            pen.label((x + SWATCH + 8.0, y + 14.0), "small", Anchor::Start, words);
        }
    }
}
