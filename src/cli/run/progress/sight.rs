//! What one line says about progress: a count as `12/345`, a percentage as `42%`, or both.
//!
//! Lines are written for people, so that much looks like a count and is none: dates (`2026/11/21`), versions
//! (`HTTP/1.1`), paths, networks (`10.0.0.0/24`), times and rates. A count stands alone: what touches it is space, a
//! bracket, a colon and the like; it is no more than its total; and a total is 2 at least.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The largest count that JSON's readers hold exactly.
const MOST: f64 = 9_007_199_254_740_991.0;

/// How far a percentage may be from its count: bars round, and some round up.
const AGREEMENT: f64 = 1.5;

/// With its thousands apart or not, and the letters that multiply it.
static COUNT: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"\d{1,3}(?:,\d{3})+|\d{1,16}(?:\.\d{1,6})?";
    let unit = "(?:[kKMGT]i?B?|B|bytes)";
    let pattern = format!(
        r"(?<done>{number})(?<unit>\s?{unit})?\s?/\s?(?<total>{number})(?<units>\s?{unit}\b)?"
    );
    Regex::new(&pattern).expect("the pattern is fixed and valid")
});

static PERCENTAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?<whole>\d{1,3})(?:[.,](?<part>\d{1,6}))?\s?%")
        .expect("the pattern is fixed and valid")
});

/// What was found in a line.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli::run) struct Sight {
    pub(super) count: Option<Count>,
    pub(super) percentage: Option<f64>,
    /// What stands before the first digit: the name of a bar, as a rule.
    pub(super) label: String,
    /// How sure it is that this is progress.
    pub(super) evidence: Evidence,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) done: u64,
    pub(super) total: u64,
}

/// How much a line alone proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// It goes on in words: `1/2 cup of flour`, `5% of all packets`.
    Weak,
    /// It ends with the measure.
    Fair,
    /// In brackets, or at its very beginning, or a count and a percentage that agree.
    Strong,
}

impl Sight {
    /// Looks at a line of text without control characters.
    pub(in crate::cli::run) fn of(line: &str) -> Option<Self> {
        let percentage = PERCENTAGE
            .captures_iter(line)
            .find_map(|found| Some((read_percentage(line, &found)?, place(&found))));
        let mut counts = COUNT
            .captures_iter(line)
            .filter_map(|found| Some((Measured::read(line, &found)?, place(&found))));
        // That of the bar, where the line names others as well.
        let agrees = |measured: &Measured| {
            let is_near = |percentage: f64| (measured.percentage() - percentage).abs() <= AGREEMENT;
            percentage
                .as_ref()
                .is_some_and(|(percentage, _)| is_near(*percentage))
        };
        let first = counts.next();
        let measured = match &first {
            Some((measured, _)) if !agrees(measured) => {
                counts.find(|(measured, _)| agrees(measured)).or(first)
            }
            _ => first,
        };
        let (measured, place) = match (measured, &percentage) {
            (Some((measured, place)), _) => (Some(measured), place),
            (None, Some((_, place))) => (None, place.clone()),
            (None, None) => return None,
        };
        let count = measured.as_ref().and_then(Measured::count);
        let is_beginning = match (count, &measured, &percentage) {
            (Some(Count { done, total }), ..) => done == 0 || (done == 1 && total > 4),
            (None, Some(measured), _) => measured.percentage() < 2.0,
            (None, None, Some((percentage, _))) => *percentage < 2.0,
            (None, None, None) => false,
        };
        let is_strong = is_beginning
            || measured.as_ref().is_some_and(agrees)
            || line[..place.start].trim_end().ends_with(['[', '(']);
        let evidence = match line[place.end..].trim_start().chars().next() {
            _ if is_strong => Evidence::Strong,
            Some(next) if next.is_alphanumeric() => Evidence::Weak,
            _ => Evidence::Fair,
        };
        let label = line.split(|letter: char| letter.is_ascii_digit()).next();
        Some(Self {
            percentage: match (&measured, percentage) {
                (Some(measured), None) if count.is_none() => Some(measured.percentage()),
                (_, percentage) => percentage.map(|(percentage, _)| percentage),
            },
            count,
            label: label.unwrap_or_default().trim().to_owned(),
            evidence,
        })
    }

    /// What a line means that is nothing but a number, where all of them are: `pv -n` speaks so.
    pub(in crate::cli::run) fn of_bare_number(line: &str) -> Option<Self> {
        let percentage = line.parse::<u8>().ok().filter(|number| *number <= 100)?;
        Some(Self {
            count: None,
            percentage: Some(percentage.into()),
            label: String::new(),
            evidence: Evidence::Weak,
        })
    }
}

/// Two numbers with a slash between them.
struct Measured {
    done: f64,
    total: f64,
    /// Whether they are numbers of something: whole, or with a unit that makes them so.
    is_counted: bool,
}

impl Measured {
    fn read(line: &str, found: &Captures<'_>) -> Option<Self> {
        let place = place(found);
        let (before, after) = (&line[..place.start], &line[place.end..]);
        // What rsync has still to look at goes down.
        if !stands_alone(before, after) || before.ends_with("-chk=") {
            return None;
        }
        if is_part_of_number(before, &found["done"], after) {
            return None;
        }
        let unit = |name| found.name(name).map_or("", |unit| unit.as_str());
        let own = unit("unit");
        let units = unit("units");
        // `1.2/3.4 MB` is in one unit; in `999/45.6M` the letter belongs to its number.
        let is_shared = own.is_empty() && (units.starts_with(' ') || units.ends_with('B'));
        let done = number(&found["done"])? * factor(if is_shared { units } else { own });
        let total = number(&found["total"])? * factor(units);
        let is_counted = factor(units) > 1.0 || !found["total"].contains('.');
        (done <= total && (2.0..=MOST).contains(&total)).then_some(Self {
            done,
            total,
            is_counted,
        })
    }

    fn percentage(&self) -> f64 {
        100.0 * self.done / self.total
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are between 0 and 2^53"
    )]
    fn count(&self) -> Option<Count> {
        self.is_counted.then(|| Count {
            done: self.done.round() as u64,
            total: self.total.round() as u64,
        })
    }
}

fn read_percentage(line: &str, found: &Captures<'_>) -> Option<f64> {
    let place = place(found);
    let after = &line[place.end..];
    // `%20` is a letter in an address, `%s` a place in a format.
    let is_code = after.starts_with(|next: char| next.is_alphanumeric() || next == '%');
    if is_code || !begins_alone(&line[..place.start]) {
        return None;
    }
    let part = found.name("part").map_or("0", |part| part.as_str());
    let percentage: f64 = format!("{}.{part}", &found["whole"]).parse().ok()?;
    (percentage <= 100.0).then_some(percentage)
}

fn place(found: &Captures<'_>) -> std::ops::Range<usize> {
    found.get_match().range()
}

fn number(text: &str) -> Option<f64> {
    text.replace(',', "").parse().ok()
}

fn factor(unit: &str) -> f64 {
    let unit = unit.trim_start();
    let base: f64 = if unit[1.min(unit.len())..].starts_with('i') {
        1024.0
    } else {
        1000.0
    };
    let power = match unit.chars().next() {
        Some('k' | 'K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        _ => 0,
    };
    base.powi(power)
}

/// Whether what was found is from the middle of `1 000/2 000`: its thousands stand apart by more than a comma.
fn is_part_of_number(before: &str, done: &str, after: &str) -> bool {
    let is_gap = |letter: char| matches!(letter, '\'' | '\u{2019}' | '\u{a0}' | '\u{202f}');
    let is_digit = |letter: char| letter.is_ascii_digit();
    let ends = |is_gap: &dyn Fn(char) -> bool| {
        let before = before.strip_suffix(is_gap);
        before.is_some_and(|before| before.ends_with(is_digit))
    };
    let begins = |is_gap: &dyn Fn(char) -> bool| {
        let rest = after.strip_prefix(is_gap);
        rest.is_some_and(|rest| rest.starts_with(is_digit))
    };
    // Behind a space another number may begin, but none with a nought and more.
    let is_space = |letter: char| letter == ' ';
    let is_rest = |text: &str| text.starts_with('0') && text[1..].starts_with(is_digit);
    ends(&is_gap)
        || begins(&is_gap)
        || (ends(&is_space) && is_rest(done))
        || (begins(&is_space) && is_rest(&after[1..]))
}

fn stands_alone(before: &str, after: &str) -> bool {
    let mut following = after.chars();
    let ends_alone = match following.next() {
        None => true,
        // The end of a phrase, or the middle of a date, a time or a number.
        Some(',' | '.' | ':') => !following.next().is_some_and(char::is_alphanumeric),
        Some(next) if next.is_ascii() => {
            next.is_ascii_whitespace() || "])}>|;\"'<([!=".contains(next)
        }
        Some(next) => !next.is_alphanumeric(),
    };
    ends_alone && begins_alone(before)
}

fn begins_alone(before: &str) -> bool {
    let mut preceding = before.chars().rev();
    match preceding.next() {
        None => true,
        Some(last @ (',' | ':' | '.')) => match preceding.next() {
            // Dots lead from a name to its number.
            Some(letter) if last == '.' => letter == '.',
            Some(letter) => !letter.is_ascii_digit(),
            None => last != '.',
        },
        Some(last) if last.is_ascii() => {
            last.is_ascii_whitespace() || "[({<|\"'#*>];=~".contains(last)
        }
        Some(last) => !last.is_alphanumeric(),
    }
}
