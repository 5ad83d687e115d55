//! Chance from a seed: numbers, picks, garbage, and text that nearly means something.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// The maker of one request.
pub(super) struct Maker(pub(super) StdRng);

impl Maker {
    /// The same for the same seed.
    pub(super) fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    pub(super) fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from.choose(&mut self.0)
            .expect("there is something to pick from")
    }

    pub(super) fn garbage(&mut self, most: usize) -> Vec<u8> {
        let length = 1 + self.below(most);
        (0..length).map(|_| self.0.random::<u8>()).collect()
    }

    /// Garbage that is text, of what means something to somebody.
    pub(super) fn text(&mut self) -> String {
        let parts = [
            "\"",
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "null",
            "true",
            "1e999",
            "-",
            "18446744073709551616",
            "\\u0000",
            "\\ud800",
            "\\",
            "'",
            "job_id",
            "status",
            "data",
            " ",
            "\t",
            "ä",
            "\u{202e}",
            "%00",
            "..",
            "/",
            "<",
            "&",
        ];
        (0..self.below(12)).map(|_| self.pick(&parts)).collect()
    }
}
